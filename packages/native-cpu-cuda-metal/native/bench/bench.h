// Times the operations of a backend on one cache: medians of interleaved rounds, as ratios to what the machine reached
// in the same rounds with as many threads.
//
// A round times every case of the operation once, each right after a copy, which leaves nothing of a cache in the
// processor's caches, so that short ones are as cold as long ones; or all of them after one measure of peak FLOP/s. The
// first round warms up and does not count. What a case needs beforehand (plans, outputs, going back) is outside of its
// time.
#ifndef KVFOLD_BENCH_BENCH_H
#define KVFOLD_BENCH_BENCH_H

#include <cstdint>
#include <string>
#include <vector>

#include "kvfold/backend.h"

namespace kvfold {
namespace bench {

/// A cache whose layers are all alike.
struct Shape {
  uint32_t layers, kv_heads, head_dim;
};

/// One operation of one backend on one cache, whose keys and values have the same type and head size.
struct Request {
  const kvfold_backend *backend = nullptr;
  std::string op;     // a name of providers.cc
  std::vector<std::string> variants;  // empty: all
  int32_t type = KVFOLD_F16;
  bool transposed = false;  // the values
  Shape shape{};
  uint32_t cells = 0;
  uint32_t ratio = 4;  // cells before / cells after
  uint32_t threads = 1;
  uint32_t runs = 10;
  uint32_t query_rows = 1024;  // for each KV head; attend and fit
  uint64_t memory_limit = 0;   // bytes that a case may hold; 0: no limit
  int (*cancelled)(void *data) = nullptr;  // (optional) polled between cases and while they run
  void *cancelled_data = nullptr;
};

/// What a case is and how much it has to do. Zero: not counted.
struct Facts {
  std::string variant;
  bool undo_log = false;  // the time includes saving what is overwritten
  double bytes = 0;       // usefully read plus written
  double operations = 0;  // floating-point
};

struct Row {
  Facts facts;
  std::vector<double> seconds, yardsticks;  // by round
  double median = 0, least = 0, most = 0;  // seconds
  double ratio = 0;  // median over the rounds of speed / the yardstick of that round
};

/// The yardstick of the ratios is the median of all rounds and rows; `read` and the other yardstick were measured once.
struct Result {
  bool compute = false;  // ratios are to `peak`; otherwise to `copy`
  double copy = 0;       // bytes read plus written a second
  double read = 0;       // bytes read a second where nothing is written
  double peak = 0;       // floating-point operations a second
  std::vector<Row> rows;
  std::string skipped;  // why there are no rows, or ""
};

/// KVFOLD_STATUS_ARGUMENT on sizes that make no sense, KVFOLD_STATUS_ABORTED when cancelled, and what the backend says.
/// What cannot be timed here (no such entry in the table, too large) is no failure: `skipped` says why.
kvfold_status run(const Request &request, Result *result, kvfold_error *error);

/// Operations that can be asked for.
std::vector<std::string> operations();

}  // namespace bench
}  // namespace kvfold

#endif

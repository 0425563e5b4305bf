// Times a fold of any backend on this machine, as a ratio to the bandwidth of copies that alternate with it.
#ifndef KVFOLD_BENCH_FOLD_BENCH_H
#define KVFOLD_BENCH_FOLD_BENCH_H

#include <cstdint>

#include "kvfold/backend.h"

namespace kvfold {
namespace bench {

enum class FoldPlanKind {
  merge,        // rows are the mean of `ratio` neighbours, combined as they lie
  merge_turned,  // the same, with keys turned to the position of the row
  evict,        // rows are cells picked at random, the same in all heads
  composite     // rows are cells picked at random for each layer and head
};

struct FoldBenchCase {
  const kvfold_backend *backend;
  uint32_t layers, kv_heads, head_dim, cells;
  int32_t type;               // enum kvfold_dtype, keys and values
  bool value_transposed;
  FoldPlanKind plan;
  uint32_t ratio;             // cells before / cells after
  uint32_t threads, runs;
  bool cpu_time;  // time that the threads ran, for machines that others use as well; else the time that passed
};

/// Medians over the runs, in GB/s = 1e9 bytes a second; a ratio is the median over the runs of one run's ratio to its
/// own copy.
struct FoldBenchResult {
  uint64_t useful_bytes;  // slices that a row is made of, read once, and rows written once
  double copy;            // bytes read plus written by memcpy with as many threads
  double fold;            // prepare and commit without saving the undo log; 0 where the table has no fold_save
  double fold_ratio, fold_lowest, fold_highest;
  double logged;  // prepare and commit, all of it
  double logged_ratio;
  double prepare_milliseconds, save_milliseconds, write_milliseconds;
};

/// Bytes of memory that a case needs: cache, undo log and the two buffers that are copied.
uint64_t fold_bench_bytes(const FoldBenchCase &of);

/// KVFOLD_STATUS_UNSUPPORTED where the backend refuses the shape, KVFOLD_STATUS_NATIVE without enough memory.
kvfold_status fold_bench(const FoldBenchCase &of, FoldBenchResult *result, kvfold_error *error);

}  // namespace bench
}  // namespace kvfold

#endif

// One thing to time, and who makes it. A new operation is a provider in a file of its own and a row in providers.cc.
#ifndef KVFOLD_BENCH_CASE_H
#define KVFOLD_BENCH_CASE_H

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "bench.h"
#include "cache.h"

namespace kvfold {
namespace bench {

/// Adds up the parts of a run that count.
class Stopwatch {
 public:
  void start() { started_ = Clock::now(); }
  void stop() { seconds_ += std::chrono::duration<double>(Clock::now() - started_).count(); }
  double seconds() const { return seconds_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point started_;
  double seconds_ = 0;
};

class Case {
 public:
  virtual ~Case() = default;
  virtual Facts facts() const = 0;
  /// Does it once, and leaves the cache as it was.
  virtual kvfold_status run(Stopwatch *watch, kvfold_error *error) = 0;
};

using Cases = std::vector<std::unique_ptr<Case>>;

struct Provider {
  const char *op;
  bool compute;      // against peak FLOP/s; otherwise against copy bandwidth
  bool transposed;   // whether the layout of the values makes a difference
  bool one_layer;    // cost is the same in every layer, so one is enough
  double held;       // bytes that the cases hold at once, as a multiple of the cache
  /// "" or why the backend cannot do it.
  const char *(*lacks)(const kvfold_backend &backend);
  /// The cache outlives the cases.
  kvfold_status (*cases)(const Request &request, Cache *cache, Cases *cases, kvfold_error *error);
};

/// NULL: no operation of that name.
const Provider *provider_of(const std::string &op);

kvfold_options options_of(const Request &request);

/// Whether the table of a library that may be older has an entry at all; it may still be NULL.
#define KVFOLD_HAS_ENTRY(backend, entry) \
  ((backend).struct_bytes >= offsetof(kvfold_backend, entry) + sizeof((backend).entry) && (backend).entry != nullptr)

}  // namespace bench
}  // namespace kvfold

#endif

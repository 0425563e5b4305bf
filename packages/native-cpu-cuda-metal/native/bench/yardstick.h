// What the machine reaches with a number of threads: the yardsticks of all ratios.
#ifndef KVFOLD_BENCH_YARDSTICK_H
#define KVFOLD_BENCH_YARDSTICK_H

#include <atomic>
#include <cstdint>

#include "common/scratch.h"

namespace kvfold {
namespace bench {

/// Two buffers, each as large as the last-level cache where that is known: 128 to 512 MiB.
class MemoryYardstick {
 public:
  bool allocate();
  /// Copies with memcpy or with stores that go past the caches, whichever was faster at first, in two runs of each:
  /// bytes read plus written a second; one run.
  double copy(uint32_t threads);
  /// Bytes a second that are read where nothing is written; one run. Where it is much less than a copy moves, what
  /// mostly reads (a fold to a quarter: four bytes of five) cannot keep up with a copy.
  double read(uint32_t threads);

 private:
  using Copier = void(uint8_t *to, const uint8_t *from, size_t bytes);

  double copy_by(Copier *copier, uint32_t threads);

  size_t bytes_ = 0;
  Copier *better_ = nullptr;
  Scratch<uint8_t> from_, to_;
  std::atomic<uint64_t> seen_{0};  // so that reads have a use
};

/// Floating-point operations a second of all threads at once; takes 0.1 s.
double measure_peak(uint32_t threads);

}  // namespace bench
}  // namespace kvfold

#endif

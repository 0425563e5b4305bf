// What the machine reaches with a number of threads: the yardsticks of all ratios.
#ifndef KVFOLD_BENCH_YARDSTICK_H
#define KVFOLD_BENCH_YARDSTICK_H

#include <cstdint>

#include "common/scratch.h"

namespace kvfold {
namespace bench {

/// Copies from one buffer to another, both far larger than the caches; with memcpy and with stores that go past the
/// caches, whichever is faster.
class CopyYardstick {
 public:
  bool allocate();
  /// Bytes read plus written a second; one run.
  double measure(uint32_t threads);

 private:
  Scratch<uint8_t> from_, to_;
};

/// Floating-point operations a second of all threads at once; takes 0.1 s.
double measure_peak(uint32_t threads);

}  // namespace bench
}  // namespace kvfold

#endif

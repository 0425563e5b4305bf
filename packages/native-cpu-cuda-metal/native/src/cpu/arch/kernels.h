// The kernels of one instruction set, as a table of functions. Included by files that are compiled with flags of their
// own, so no C++ library here (the linker might keep their copy of an inline function for everybody).
#ifndef KVFOLD_CPU_ARCH_KERNELS_H
#define KVFOLD_CPU_ARCH_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "common/q8_sums.h"

#if defined(__GNUC__)
#define KVFOLD_INLINE inline __attribute__((always_inline))
#define KVFOLD_NOINLINE __attribute__((noinline))
#else
#define KVFOLD_INLINE inline
#define KVFOLD_NOINLINE
#endif

namespace kvfold {
namespace cpu {

/// Of a piece.
constexpr size_t kMostTerms = kQ8Terms;

/// Pieces of new rows, all of one size, one behind the other. Piece i is made of the terms [ends[i - 1], ends[i]), counted
/// from `first` on: their weighted sum, or the bytes of a single term of weight 1. Without ends each is the bytes of a
/// term of its own.
struct Pieces {
  const uint8_t *const *from;  // [terms]
  const float *weights;        // [terms], or NULL without ends
  const uint32_t *ends;        // [count], or NULL
  size_t count;
  uint32_t first = 0;
  bool sums = false;  // no piece is a copy
};

/// What will be read soon, in that order: some runs that take about so many cache lines, or slices of `bytes` each.
struct Runs {
  const uint8_t *const *begin;  // [count]
  const uint8_t *const *end;    // [count], or NULL: slices
  size_t bytes, count, lines;
};

/// Bytes that wait to be copied past the caches.
struct Stream {
  uint8_t *to;
  const uint8_t *from;
  size_t bytes;
};

/// Products are rounded before they are added, sums run in the order written here, so bits do not depend on the table.
/// `type` is an enum kvfold_dtype; counts are in channels, a multiple of 32 for block types.
struct Kernels {
  const char *isa;

  void (*decode)(int32_t type, const uint8_t *from, float *to, size_t count);
  void (*encode)(int32_t type, const float *from, uint8_t *to, size_t count);

  /// Every piece, of `count` channels: encode(0 + weights[0] decode(from[0]) + weights[1] decode(from[1]) ...), without
  /// a detour over memory; q8_0 in fixed point (common/q8_sums.h). Meanwhile, so that memory is read and written at
  /// once, `ahead` is asked for and `behind` is streamed.
  void (*make)(int32_t type, const Pieces &pieces, const Runs &ahead, const Stream &behind, size_t count, uint8_t *to);
  /// sum += weight * row
  void (*add_scaled)(const float *row, float weight, float *sum, size_t count);

  /// The same of one channel of a transposed tensor: out[r] = encode(sum over m in [offsets[r], offsets[r + 1]) of
  /// weights[m] * lane[slots[m]]); `type` is a float type.
  void (*sum_lane)(int32_t type, const uint8_t *lane, const uint32_t *offsets, const uint32_t *slots,
                   const float *weights, size_t rows, uint8_t *out);

  /// cos and sin of delta * frequencies[i], in double, rounded once.
  void (*angles)(const double *frequencies, double delta, size_t pairs, float *cosines, float *sines);
  /// Turns the pairs (x, y) of a key: x cos - y sin, x sin + y cos.
  void (*rotate)(bool interleaved, size_t pairs, const float *cosines, const float *sines, float *key);
  /// Normalised Walsh-Hadamard transform (natural order) of blocks of that many channels, a power of two.
  void (*hadamard)(size_t block, float *values, size_t count);

  /// Sum of a[i] b[i] in 32 lanes (i mod 32), which are then halved pairwise.
  float (*dot)(const float *a, const float *b, size_t count);
  /// sum += row * scale, the product in f32, the sum in f64.
  void (*add_to_mean)(const float *row, float scale, double *sum, size_t count);

  /// Copies past the caches, for what is not read again soon. Other threads see it after fence().
  void (*stream)(uint8_t *to, const uint8_t *from, size_t bytes);
  void (*fence)();
};

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kNeonKernels;

}  // namespace cpu
}  // namespace kvfold

#endif

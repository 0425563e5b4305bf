// The table of inner loops that an instruction set fills in, and the shapes they agree on. Plain header: the files of
// the instruction sets include it, so it has no inline functions and no standard library.
#ifndef KVFOLD_ATTENTION_KERNELS_H
#define KVFOLD_ATTENTION_KERNELS_H

#include <stddef.h>
#include <stdint.h>

namespace kvfold {
namespace attention {

/// Query rows of a block: the lanes of everything that attend does. A multiple of every `strip`. Part of the result's
/// bits (reduction trees).
constexpr size_t kLanes = 48;
/// Cells between two updates of the running maximum: half a strip of weights and half a strip of values, 12 KiB each,
/// share a common L1 cache. Part of the bits.
constexpr size_t kTile = 144;
/// Widths of matrices are padded to this many floats: one AVX-512 register, two AVX2 registers.
constexpr size_t kPad = 16;
/// Squares of weights are summed as (2^48 p)^2: no underflow above p = 2^-111, no overflow below 2^22 rows.
constexpr float kSquareScale = 281474976710656.0f;

enum class Start { zero, rows, scaled };
enum class Finish { store, add, subtract };

/// C = start; C (=, += or -=) A B. A is [m, k]: element (i, p) at a[i * row_stride + p * column_stride], one of the
/// strides being 1. B is [k, n] with rows `ldb` apart, C is [m, n] with rows `ldc` apart, n a multiple of kPad.
/// Each element is one chain of fused multiply-adds over p, in order, from: 0, start[i] (rows), or
/// C[i, j] * start[j] (scaled).
struct Product {
  const float *a;
  size_t row_stride, column_stride;
  size_t segment, jump;  ///< after every `segment` steps of p, `jump` more floats to the next ones; 0: one segment
  const float *b;
  size_t ldb;
  float *c;
  size_t ldc;
  size_t m, n, k;
  Start begin;
  Finish finish;
  const float *start;
};

/// Running softmax of kLanes rows.
struct Running {
  float *top;         ///< largest score so far [kLanes]
  float *total;       ///< sum of 2^(score - top) so far [kLanes]
  float *correction;  ///< out: 2^(old top - new top) [kLanes]
};

/// Statistics of cells over the rows of a chunk, [cells] each.
struct Sums {
  float *maximum;
  float *sum;
  float *squares;  ///< of kSquareScale * weight
};

struct Kernels {
  const char *isa;
  /// Columns that a product computes at once, and how its operands should lie: strips of so many columns, one strip
  /// after another, each with its rows one after another. Then an operand is read from end to end, and rows a power of
  /// two apart do not fight for the same cache sets.
  size_t strip;
  void (*product)(const Product &product);
  /// A tile of scores, in strips of [kTile, strip] -> 2^(score - top) in place, top as it is after these cells.
  void (*softmax)(float *scores, size_t cells, const Running &running);
  /// out[i] = 2^max(x[i], -125) for x <= 0; count a multiple of kPad. May be in place.
  void (*exponential)(const float *x, float *out, size_t count);
  /// A tile of weights, as in softmax, times factor [kLanes] -> joined to `sums`.
  void (*statistics)(const float *weights, size_t cells, const float *factor, const Sums &sums);
  /// to[i] = from[i] * factor[i]; count a multiple of kPad or of the strip.
  void (*scale)(const float *from, const float *factor, float *to, size_t count);
  /// to [columns, rows] = from [rows, columns]; row lengths in floats.
  void (*transpose)(const float *from, size_t ld_from, size_t rows, size_t columns, float *to, size_t ld_to);
  /// `rounds` times kBurst independent multiply-adds of whole registers; the result depends on all of them.
  float (*burst)(size_t rounds);
  /// Floating-point operations of a round.
  size_t burst_operations;
};

extern const Kernels kScalarKernels;
#if defined(KVFOLD_ATTENTION_X86)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif
#if defined(KVFOLD_ATTENTION_NEON)
extern const Kernels kNeonKernels;
#endif

}  // namespace attention
}  // namespace kvfold

#endif

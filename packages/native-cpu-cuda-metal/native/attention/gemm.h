// Products with a tall matrix in strips, as fit stores its weights: both A^T A and A x come out of the product kernel
// without packing. Every element is computed by one task in a fixed order: results do not depend on the number of
// threads, nor on the width of a strip.
#ifndef KVFOLD_ATTENTION_GEMM_H
#define KVFOLD_ATTENTION_GEMM_H

#include "strips.h"

namespace kvfold {
namespace attention {

/// A dense matrix; `width` (a multiple of kPad) columns are computed, rows lie `ld` apart.
struct Dense {
  float *data;
  size_t ld, width;
};

/// Length of rows of at least `width` floats, a multiple of kPad: an odd number of cache lines, so that the rows of a
/// column are in all sets of a cache.
constexpr size_t dense_ld(size_t width) { return round_up(width, kPad) | kPad; }

/// C = A^T A over the first `rows` rows: what is on and below the diagonal, and some of the rest. C: [n, ld], n =
/// strip_columns(columns)
void gram(const Kernels &kernels, const Strips &a, size_t rows, Dense c, Parallel &parallel);

/// C = A B, or C -= A B, of the first `rows` rows. B: [columns, width], C: [rows, width]
void multiply(const Kernels &kernels, const Strips &a, size_t rows, Dense b, Dense c, Finish finish,
              Parallel &parallel);

/// C = A^T B, or C -= A^T B, over the first `rows` rows. B: [rows, width], C: [columns, width]
void multiply_transposed(const Kernels &kernels, const Strips &a, size_t rows, Dense b, Dense c, Finish finish,
                         Parallel &parallel);

}  // namespace attention
}  // namespace kvfold

#endif

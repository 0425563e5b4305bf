// Products with a tall matrix that lies in panels of 64 columns, as fit stores its weights:
//
//   columns 0..63 | 64..127 | ..      panel p: [rows, 64], rows one after another
//
// so that both A^T A and A x come out of the product kernel without packing. The panels of A A^T are those of A^T.
// Every element is computed by one task in a fixed order: results do not depend on the number of threads.
#ifndef KVFOLD_ATTENTION_GEMM_H
#define KVFOLD_ATTENTION_GEMM_H

#include "kernels.h"
#include "parallel.h"

namespace kvfold {
namespace attention {

struct Panels {
  float *data;
  size_t rows;     ///< of every panel
  size_t columns;  ///< of all panels; the last one is padded with zeros

  size_t count() const { return (columns + kLanes - 1) / kLanes; }
  float *panel(size_t index) const { return data + index * rows * kLanes; }
  size_t width(size_t index) const {
    const size_t left = columns - index * kLanes;
    return left < kLanes ? left : kLanes;
  }
};

/// A dense matrix; `width` (a multiple of kPad) columns are computed, rows lie `ld` apart.
struct Dense {
  float *data;
  size_t ld, width;
};

/// C = A^T A over the first `rows` rows of the panels: 64 x 64 blocks on and below the diagonal. C: [64 count, ld]
void gram(const Kernels &kernels, const Panels &a, size_t rows, Dense c, Parallel &parallel);

/// C = A B, or C -= A B. B: [columns, width], C: [rows, width]
void multiply(const Kernels &kernels, const Panels &a, Dense b, Dense c, Finish finish, Parallel &parallel);

/// C = A^T B, or C -= A^T B, over the first `rows` rows. B: [rows, width], C: [columns, width]
void multiply_transposed(const Kernels &kernels, const Panels &a, size_t rows, Dense b, Dense c, Finish finish,
                         Parallel &parallel);

}  // namespace attention
}  // namespace kvfold

#endif

// Matrix products of a few heads at once, in f32 with fused multiply-adds and a fixed order of additions.
#ifndef KVFOLD_CUDA_GEMM_H
#define KVFOLD_CUDA_GEMM_H

#include "cuda/device.h"

namespace kvfold {
namespace cuda {

/// Heads that one launch takes; what it is told of each travels as a kernel parameter.
constexpr uint32_t kBatch = 32;

enum class Finish : uint32_t { store, subtract, add };

/// C (=, -=, +=) A B. A: [m, k], or stored as [k, m]; B: [k, n], or stored as [n, k]. Leading dimensions are multiples
/// of 4 and pointers of 16 bytes. C may be A, or B, when it is one tile (kTile) high, or wide.
struct Product {
  const float *a, *b;
  float *c;
  const float *start;  ///< [n], added first; or NULL
  uint32_t lda, ldb, ldc;
  uint32_t m, n, k;
};

struct Batch {
  Product items[kBatch];
  uint32_t count;
  Finish finish;
  bool lower;  ///< only tiles that touch the lower triangle
};

constexpr uint32_t kTile = 128;

/// Which operand is stored the other way round. `precise` adds in chunks of 128, and then the chunks: for long sums that
/// a solve depends on.
enum class Stored { a_b, a_bt, at_b, a_bt_precise, at_b_precise };

kvfold_status multiply(const Device &device, Stored stored, const Batch &batch, kvfold_error *error);

}  // namespace cuda
}  // namespace kvfold

#endif

// Blocked products over panels.
#include "gemm.h"

#include "arena.h"

namespace kvfold {
namespace attention {
namespace {

/// Rows of a panel that are summed in one chain: 128 x 64 floats stay in a common L1 cache, and a sum over thousands of
/// rows has the rounding of one over 128 plus a few.
constexpr size_t kDepth = 128;

size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/// C [m, n] (=, -=) sum over `rows` of a[row, i] b[row, j].
void transposed_block(const Kernels &kernels, const float *a, size_t m, const float *b, size_t ldb, size_t n,
                      size_t rows, float *c, size_t ldc, Finish finish) {
  for (size_t row = 0; row < rows; row += kDepth) {
    Product product = {};
    product.a = a + row * kLanes;
    product.row_stride = 1;
    product.column_stride = kLanes;
    product.b = b + row * ldb;
    product.ldb = ldb;
    product.c = c;
    product.ldc = ldc;
    product.m = m;
    product.n = n;
    product.k = smaller(kDepth, rows - row);
    product.begin = Start::zero;
    product.finish = finish == Finish::store && row > 0 ? Finish::add : finish;
    kernels.product(product);
  }
}

}  // namespace

void gram(const Kernels &kernels, const Panels &a, size_t rows, Dense c, Parallel &parallel) {
  const size_t count = a.count();
  parallel.for_each(count * (count + 1) / 2, [&](size_t task, uint32_t) {
    size_t i = 0;
    for (; task > i; i++) task -= i + 1;  // row i of the triangle has i + 1 blocks
    float *to = c.data + i * kLanes * c.ld + task * kLanes;
    transposed_block(kernels, a.panel(i), kLanes, a.panel(task), kLanes, kLanes, rows, to, c.ld, Finish::store);
  });
}

void multiply(const Kernels &kernels, const Panels &a, Dense b, Dense c, Finish finish, Parallel &parallel) {
  parallel.for_each((a.rows + kDepth - 1) / kDepth, [&](size_t task, uint32_t) {
    const size_t row = task * kDepth;
    for (size_t p = 0; p < a.count(); p++) {
      Product product = {};
      product.a = a.panel(p) + row * kLanes;
      product.row_stride = kLanes;
      product.column_stride = 1;
      product.b = b.data + p * kLanes * b.ld;
      product.ldb = b.ld;
      product.c = c.data + row * c.ld;
      product.ldc = c.ld;
      product.m = smaller(kDepth, a.rows - row);
      product.n = c.width;
      product.k = a.width(p);
      product.begin = Start::zero;
      product.finish = finish == Finish::store && p > 0 ? Finish::add : finish;
      kernels.product(product);
    }
  });
}

void multiply_transposed(const Kernels &kernels, const Panels &a, size_t rows, Dense b, Dense c, Finish finish,
                         Parallel &parallel) {
  parallel.for_each(a.count(), [&](size_t p, uint32_t) {
    transposed_block(kernels, a.panel(p), a.width(p), b.data, b.ld, c.width, rows, c.data + p * kLanes * c.ld, c.ld,
                     finish);
  });
}

}  // namespace attention
}  // namespace kvfold

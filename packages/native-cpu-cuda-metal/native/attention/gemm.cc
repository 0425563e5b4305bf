// Blocked products over strips.
#include "gemm.h"

#include <cstring>

namespace kvfold {
namespace attention {
namespace {

/// Rows that are summed in one chain: a strip of them, 128 x 24 floats, is a third of a common L1 cache, and a sum over
/// thousands of rows has the rounding of one over 128 plus a few.
constexpr size_t kDepth = 128;

/// Columns of A that A B sums in one chain, a multiple of every strip.
constexpr size_t kColumns = 2 * kLanes;

/// Side of the blocks of A^T A: two of them, kDepth rows deep, are a fifth of a common L2 cache.
constexpr size_t kSide = 3 * kLanes;

size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/// A strip of A, turned: C = A^T B.
Product transposed(const Strips &a, size_t index, size_t row, size_t rows) {
  Product product = {};
  product.a = a.at(index, row);
  product.row_stride = 1;
  product.column_stride = a.strip;
  product.m = a.width(index);
  product.k = rows;
  product.begin = Start::zero;
  return product;
}

/// Strips [i, i_end) x [j, j_end) of A^T A over `rows` rows from `row` on.
void gram_block(const Kernels &kernels, const Strips &a, size_t row, size_t rows, size_t i, size_t i_end, size_t j,
                size_t j_end, Dense c) {
  for (; j < j_end; j++)
    for (size_t s = i > j ? i : j; s < i_end; s++) {
      Product product = transposed(a, s, row, rows);
      product.m = product.n = product.ldb = a.strip;
      product.b = a.at(j, row);
      product.c = c.data + s * a.strip * c.ld + j * a.strip;
      product.ldc = c.ld;
      product.finish = row == 0 ? Finish::store : Finish::add;
      kernels.product(product);
    }
}

}  // namespace

void gram(const Kernels &kernels, const Strips &a, size_t rows, Dense c, Parallel &parallel) {
  const size_t count = a.count(), strips = kSide / a.strip, side = (count + strips - 1) / strips;
  parallel.for_each(side * (side + 1) / 2, [&](size_t task, uint32_t) {
    size_t i = 0;
    for (; task > i; i++) task -= i + 1;  // row i of the triangle has i + 1 blocks
    for (size_t row = 0; row < rows; row += kDepth)
      gram_block(kernels, a, row, smaller(kDepth, rows - row), i * strips, smaller(count, (i + 1) * strips),
                 task * strips, smaller(count, (task + 1) * strips), c);
  });
}

void multiply(const Kernels &kernels, const Strips &a, size_t rows, Dense b, Dense c, Finish finish,
              Parallel &parallel) {
  parallel.for_each((rows + kDepth - 1) / kDepth, [&](size_t task, uint32_t) {
    const size_t row = task * kDepth;
    Product product = {};
    product.row_stride = product.segment = a.strip;
    product.column_stride = 1;
    product.jump = a.rows * a.strip - a.strip;
    product.ldb = b.ld;
    product.ldc = c.ld;
    product.m = smaller(kDepth, rows - row);
    product.begin = Start::zero;
    for (size_t column = 0; column < a.columns; column += kColumns) {
      product.a = a.at(column / a.strip, row);
      product.k = smaller(kColumns, a.columns - column);
      product.finish = finish == Finish::store && column > 0 ? Finish::add : finish;
      for (size_t j = 0; j < c.width; j += a.strip) {
        product.n = smaller(a.strip, c.width - j);
        product.b = b.data + column * b.ld + j;
        product.c = c.data + row * c.ld + j;
        kernels.product(product);
      }
    }
  });
}

void multiply_transposed(const Kernels &kernels, const Strips &a, size_t rows, Dense b, Dense c, Finish finish,
                         Parallel &parallel) {
  const size_t count = a.count(), strips = kSide / a.strip;
  parallel.for_each((count + strips - 1) / strips, [&](size_t task, uint32_t) {
    const size_t end = smaller(count, (task + 1) * strips);
    float strip[kDepth * kLanes];  // of B: its rows lie far apart, and each is read once for every strip of A
    for (size_t row = 0; row < rows; row += kDepth)
      for (size_t j = 0; j < c.width; j += a.strip) {
        const size_t depth = smaller(kDepth, rows - row), width = smaller(a.strip, c.width - j);
        for (size_t i = 0; i < depth; i++)
          std::memcpy(strip + i * width, b.data + (row + i) * b.ld + j, width * sizeof(float));
        for (size_t index = task * strips; index < end; index++) {
          Product product = transposed(a, index, row, depth);
          product.b = strip;
          product.n = product.ldb = width;
          product.c = c.data + index * a.strip * c.ld + j;
          product.ldc = c.ld;
          product.finish = finish == Finish::store && row > 0 ? Finish::add : finish;
          kernels.product(product);
        }
      }
  });
}

}  // namespace attention
}  // namespace kvfold

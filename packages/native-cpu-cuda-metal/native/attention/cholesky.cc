// Right-looking blocked Cholesky. Diagonal blocks are factored and inverted in double; all else is products.
#include "cholesky.h"

#include <cmath>
#include <cstring>

namespace kvfold {
namespace attention {
namespace {

using Small = double[kStep][kStep];

/// Side of the blocks of the trailing update.
constexpr size_t kSide = 2 * kLanes;

struct Guard {
  const float *diagonal;  ///< before elimination
  double least;
  size_t raised = 0;

  double operator()(double pivot, size_t index) {
    const double floor = std::fmax(diagonal[index] * kPivotFloor, least);
    if (pivot >= floor) return pivot;  // false for NaN
    raised++;
    return floor;
  }
};

void factor_small(Small &a, size_t n, size_t first, Guard &guard) {
  for (size_t j = 0; j < n; j++) {
    for (size_t k = 0; k < j; k++) a[j][j] -= a[j][k] * a[j][k];
    a[j][j] = std::sqrt(guard(a[j][j], first + j));
    for (size_t i = j + 1; i < n; i++) {
      for (size_t k = 0; k < j; k++) a[i][j] -= a[i][k] * a[j][k];
      a[i][j] /= a[j][j];
    }
  }
}

/// out = L^-1, [kStep, kStep], zero-padded.
void invert_small(const Small &l, size_t n, float *out) {
  Small inverse = {};
  for (size_t i = 0; i < n; i++) {
    for (size_t k = 0; k < i; k++) {
      for (size_t j = 0; j <= k; j++) inverse[i][j] -= l[i][k] * inverse[k][j];
    }
    inverse[i][i] = 1.0;
    for (size_t j = 0; j <= i; j++) inverse[i][j] /= l[i][i];
  }
  for (size_t i = 0; i < kStep; i++) {
    for (size_t j = 0; j < kStep; j++) out[i * kStep + j] = static_cast<float>(inverse[i][j]);
  }
}

void diagonal_block(const Factor &factor, size_t first, size_t size, Guard &guard) {
  Small block = {};
  for (size_t i = 0; i < size; i++) {
    for (size_t j = 0; j <= i; j++) block[i][j] = factor.matrix[(first + i) * factor.ld + first + j];
  }
  factor_small(block, size, first, guard);
  invert_small(block, size, factor.inverse + first * kStep);
}

/// The rows below a diagonal block, and the update of what is right of it.
struct Step {
  const Kernels &kernels;
  const Factor &factor;
  size_t first, m;     ///< column of the block, rows below it
  float *inverse_turned;  ///< [kStep, kStep]
  float *below;        ///< [m, kStep]: L below the block
  float *turned;       ///< [kStep, ld_turned]

  size_t ld_turned() const { return dense_ld(m); }
  float *matrix(size_t row, size_t column) const {
    return factor.matrix + (first + kStep + row) * factor.ld + first + column;
  }

  /// below = A (L_block^-1)^T
  void solve_rows(size_t row, size_t rows) const {
    Product product = {};
    product.a = matrix(row, 0);
    product.row_stride = factor.ld;
    product.column_stride = 1;
    product.b = inverse_turned;
    product.ldb = product.ldc = product.n = product.k = kStep;
    product.c = below + row * kStep;
    product.m = rows;
    product.finish = Finish::store;
    kernels.product(product);
    for (size_t i = row; i < row + rows; i++) std::memcpy(matrix(i, 0), below + i * kStep, kStep * sizeof(float));
    kernels.transpose(below + row * kStep, kStep, rows, kStep, turned + row, ld_turned());
  }

  /// A -= below below^T, one block
  void update(size_t row, size_t column) const {
    Product product = {};
    product.a = below + row * kStep;
    product.row_stride = kStep;
    product.column_stride = 1;
    product.b = turned + column;
    product.ldb = ld_turned();
    product.c = matrix(row, kStep + column);
    product.ldc = factor.ld;
    product.m = m - row < kSide ? m - row : kSide;
    product.n = m - column < kSide ? round_up(m - column, kPad) : kSide;
    product.k = kStep;
    product.finish = Finish::subtract;
    kernels.product(product);
  }

  void run(Parallel &parallel) const {
    const size_t blocks = (m + kSide - 1) / kSide;
    kernels.transpose(factor.inverse + first * kStep, kStep, kStep, kStep, inverse_turned, kStep);
    std::memset(turned, 0, kStep * ld_turned() * sizeof(float));
    parallel.for_each(blocks, [this](size_t block, uint32_t) {
      const size_t row = block * kSide;
      solve_rows(row, m - row < kSide ? m - row : kSide);
    });
    parallel.for_each(blocks, [this](size_t block, uint32_t) {
      for (size_t column = 0; column <= block; column++) update(block * kSide, column * kSide);
    });
  }
};

}  // namespace

size_t factor_scratch(size_t n) {
  const size_t padded = dense_ld(n);
  return padded + kStep * kStep + 2 * kStep * padded;
}

size_t cholesky_factor(const Kernels &kernels, const Factor &factor, Parallel &parallel) {
  const size_t n = factor.n, padded = dense_ld(n);
  float *diagonal = factor.scratch;
  double trace = 0;
  for (size_t i = 0; i < n; i++) trace += diagonal[i] = factor.matrix[i * factor.ld + i];
  Guard guard = {diagonal, kPivotLeast * trace / static_cast<double>(n)};
  float *inverse_turned = diagonal + padded;
  float *below = inverse_turned + kStep * kStep;
  for (size_t first = 0; first < n && !parallel.stop(); first += kStep) {
    const size_t size = n - first < kStep ? n - first : kStep;
    diagonal_block(factor, first, size, guard);
    if (first + kStep >= n) break;
    const Step step = {kernels, factor, first, n - first - kStep, inverse_turned, below, below + kStep * padded};
    step.run(parallel);
  }
  return guard.raised;
}

void cholesky_solve(const Kernels &kernels, const Factor &factor, Dense b, float *scratch) {
  const size_t n = factor.n;
  // rows of the block = inverse (or its transpose) times them; then taken off all rows still to come
  auto step = [&](size_t first, bool forward) {
    const size_t size = n - first < kStep ? n - first : kStep;
    Product product = {};
    product.a = factor.inverse + first * kStep;
    product.row_stride = forward ? kStep : 1;
    product.column_stride = forward ? 1 : kStep;
    product.b = b.data + first * b.ld;
    product.ldb = b.ld;
    product.c = scratch;
    product.ldc = product.n = b.width;
    product.m = product.k = size;
    kernels.product(product);
    for (size_t i = 0; i < size; i++) {
      std::memcpy(b.data + (first + i) * b.ld, scratch + i * b.width, b.width * sizeof(float));
    }
    product.a = forward ? factor.matrix + (first + size) * factor.ld + first : factor.matrix + first * factor.ld;
    product.row_stride = forward ? factor.ld : 1;
    product.column_stride = forward ? 1 : factor.ld;
    product.b = scratch;
    product.ldb = b.width;
    product.c = forward ? b.data + (first + size) * b.ld : b.data;
    product.ldc = b.ld;
    product.m = forward ? n - first - size : first;
    product.finish = Finish::subtract;
    kernels.product(product);
  };
  const size_t steps = (n + kStep - 1) / kStep;
  for (size_t i = 0; i < steps; i++) step(i * kStep, true);
  for (size_t i = steps; i-- > 0;) step(i * kStep, false);
}

}  // namespace attention
}  // namespace kvfold

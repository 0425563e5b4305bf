// The blocked factor and its solves: residuals, guards, threads.
#include "arena.h"
#include "check.h"
#include "cholesky.h"
#include "fixture.h"
#include "isa.h"

using namespace kvfold::attention;
using fixture::Floats;
using fixture::Random;

namespace {

struct System {
  size_t n, ld, width;
  Floats matrix, right;

  /// B B^T / n + shift, positive definite for shift > 0.
  System(Random &random, size_t size, size_t columns, float shift)
      : n(size), ld(dense_ld(size)), width(columns), matrix(ld * ld), right(random.floats(ld * width, 1)) {
    const Floats b = random.floats(n * n, 1);
    for (size_t i = 0; i < n; i++) {
      for (size_t j = 0; j <= i; j++) {
        double sum = 0;
        for (size_t k = 0; k < n; k++) sum += double{b[i * n + k]} * b[j * n + k];
        matrix[i * ld + j] = static_cast<float>(sum / n) + (i == j ? shift : 0.0f);
      }
    }
  }

  double at(size_t i, size_t j) const { return i >= j ? matrix[i * ld + j] : matrix[j * ld + i]; }

  /// |A X - B| / (|A||X| + |B|), Frobenius norms.
  double residual(const Floats &x) const {
    double left = 0, a = 0, xx = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
      for (size_t j = 0; j < n; j++) a += at(i, j) * at(i, j);
      for (size_t c = 0; c < width; c++) {
        double sum = -double{right[i * width + c]};
        for (size_t j = 0; j < n; j++) sum += at(i, j) * x[j * width + c];
        left += sum * sum;
        xx += double{x[i * width + c]} * x[i * width + c];
        bb += double{right[i * width + c]} * right[i * width + c];
      }
    }
    return std::sqrt(left) / (std::sqrt(a * xx) + std::sqrt(bb));
  }

  Floats solve(const Kernels &kernels, uint32_t threads, size_t *raised) const {
    Floats square = matrix, x = right, inverse(round_up(n, kStep) * kStep), scratch(factor_scratch(n));
    Floats step(kStep * width);
    const fixture::Threads pool(threads);
    const kvfold_attention_options options = fixture::options(nullptr, &pool.workers);
    Parallel parallel(options);
    const Factor factor = {square.data(), n, ld, inverse.data(), scratch.data()};
    *raised = cholesky_factor(kernels, factor, parallel);
    cholesky_solve(kernels, factor, {x.data(), width, width}, step.data());
    return x;
  }
};

}  // namespace

TEST(cholesky_leaves_a_small_residual) {
  Random random(21);
  for (size_t n : {1, 2, 15, 31, 32, 33, 63, 64, 65, 96, 97, 128, 200, 333}) {
    const System system(random, n, n % 2 == 0 ? 16 : 48, 0.05f);
    for (size_t i = 0; kernels_at(i) != nullptr; i++) {
      size_t raised = 0;
      const Floats x = system.solve(*kernels_at(i), 1, &raised);
      CHECK(raised == 0);
      // chains of 32 and n / 32 of them, thrice (factor, two solves); backward stable: (Higham, theorem 10.4)
      CHECK_BOUND(system.residual(x), 3 * (kStep + n / kStep + 4) * std::ldexp(1.0, -24));
      CHECK(fixture::same_bits(x, system.solve(*kernels_at(i), 3, &raised)));
    }
  }
}

TEST(cholesky_raises_pivots_that_carry_nothing) {
  Random random(22);
  const size_t n = 70;
  System system(random, n, 16, 0.0f);
  // all unknowns are the same one: a matrix of ones has rank 1
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j <= i; j++) system.matrix[i * system.ld + j] = 1.0f;
    for (size_t c = 0; c < 16; c++) system.right[i * 16 + c] = 1.0f;
  }
  for (size_t i = 0; kernels_at(i) != nullptr; i++) {
    size_t raised = 0;
    const Floats x = system.solve(*kernels_at(i), 1, &raised);
    CHECK(raised == n - 1);
    double sum = 0;
    for (size_t r = 0; r < n; r++) sum += x[r * 16];
    // consistent equations: each of n - 1 floors of 2^-18 moves the sum by at most its own share of |x| <= 1
    CHECK_BOUND(std::fabs(sum - 1), n * kPivotFloor);
  }
}

TEST(cholesky_keeps_an_unknown_without_equations_at_zero) {
  Random random(23);
  System system(random, 40, 16, 0.1f);
  for (size_t i = 0; i < 40; i++) system.matrix[i >= 7 ? i * system.ld + 7 : 7 * system.ld + i] = 0.0f;
  for (size_t c = 0; c < 16; c++) system.right[7 * 16 + c] = 0.0f;
  for (size_t i = 0; kernels_at(i) != nullptr; i++) {
    size_t raised = 0;
    const Floats x = system.solve(*kernels_at(i), 1, &raised);
    CHECK(raised == 1);
    for (size_t c = 0; c < 16; c++) CHECK(x[7 * 16 + c] == 0.0f);
    for (float value : x) CHECK(std::isfinite(value));
  }
}

// The inner loops of every instruction set, against double and against each other.
#include <cfloat>

#include "check.h"
#include "fixture.h"
#include "isa.h"
#include "kernels.h"

using namespace kvfold::attention;
using fixture::Floats;
using fixture::Random;

namespace {

template <typename Work>
void each_table(Work &&work) {
  for (size_t i = 0; kernels_at(i) != nullptr; i++) work(*kernels_at(i));
}

bool fused(const Kernels &kernels) { return kernels.isa != kScalarKernels.isa; }

struct Shape {
  size_t m, n, k, row_stride, column_stride;
  size_t segment = 0, jump = 0;
  /// Where the element of A lies.
  size_t at(size_t i, size_t k_index) const {
    return i * row_stride + k_index * column_stride + (segment == 0 ? 0 : k_index / segment * jump);
  }
};

/// C = start; C (op) A B in double, and the sum of the magnitudes of all terms for the bound.
struct Expected {
  double value, magnitude;
};

Expected expect(const Product &p, const Shape &shape, const Floats &old, size_t i, size_t j) {
  double sum = 0;
  if (p.begin == Start::rows) sum = p.start[i];
  if (p.begin == Start::scaled) sum = double{old[i * p.ldc + j]} * p.start[j];
  double magnitude = std::fabs(sum);
  for (size_t k = 0; k < p.k; k++) {
    const double term = double{p.a[shape.at(i, k)]} * p.b[k * p.ldb + j];
    sum += term;
    magnitude += std::fabs(term);
  }
  const double before = p.finish == Finish::store ? 0 : old[i * p.ldc + j];
  return {p.finish == Finish::subtract ? before - sum : before + sum, magnitude + std::fabs(before)};
}

void product_case(Random &random, const Shape &shape, Start begin, Finish finish) {
  const size_t ldb = shape.n + 16, ldc = shape.n + 32;
  const Floats a = random.floats(shape.at(shape.m, shape.k) + 1, 1);
  const Floats b = random.floats(shape.k * ldb + ldb, 1), old = random.floats(shape.m * ldc + ldc, 1);
  const Floats start = random.floats(shape.m + shape.n, 1);
  Floats fused_result;
  each_table([&](const Kernels &kernels) {
    Floats c = old;
    const Product product = {a.data(), shape.row_stride, shape.column_stride, shape.segment, shape.jump, b.data(), ldb,
                             c.data(), ldc, shape.m, shape.n, shape.k, begin, finish, start.data()};
    kernels.product(product);
    for (size_t i = 0; i < c.size(); i++) {
      const size_t row = i / ldc, column = i % ldc;
      if (row >= shape.m || column >= shape.n) {
        CHECK(c[i] == old[i]);
        continue;
      }
      // k products and sums rounded apart, the start and the finish: 2 k + 4 roundings of the terms' magnitude
      const Expected want = expect(product, shape, old, row, column);
      CHECK_BOUND(std::fabs(c[i] - want.value), 1.1 * std::ldexp(2.0 * shape.k + 4, -24) * want.magnitude);
    }
    if (!fused(kernels)) return;
    if (fused_result.empty()) fused_result = c;
    CHECK(fixture::same_bits(fused_result, c));
  });
}

}  // namespace

TEST(product_equals_double_in_every_shape_and_mode) {
  Random random(1);
  for (size_t m = 1; m <= 14; m++) {
    for (size_t n = 16; n <= 144; n += 16) {
      const size_t k = random.size(1, 90);
      const Start begin = static_cast<Start>(random.between(0, 2));
      const Finish finish = static_cast<Finish>(random.between(0, 2));
      product_case(random, {m, n, k, k + random.between(0, 3), 1}, begin, finish);
      product_case(random, {m, n, k, 1, m + random.between(0, 3)}, begin, finish);
    }
  }
  for (size_t strip : {12, 24, 48}) {  // rows of a matrix in strips, as A B reads them
    const size_t rows = random.size(3, 60), k = random.size(strip, 5 * strip);
    product_case(random, {rows, 48, k, strip, 1, strip, rows * strip - strip}, Start::zero, Finish::subtract);
  }
  product_case(random, {0, 16, 3, 3, 1}, Start::zero, Finish::store);
  product_case(random, {5, 16, 0, 1, 1}, Start::rows, Finish::store);
}

TEST(exponential_is_within_its_bound_over_the_whole_range) {
  // from -0 down past -125 in steps of 1952 floats; all bit patterns of negative floats grow in magnitude
  Floats x;
  const uint32_t sign = 0x80000000u;
  for (uint32_t bits = 0; bits < 0x43000000u; bits += bits < 0x30000000u ? 0x100001u : 61u * 32u) {
    const uint32_t pattern = sign | bits;
    float value;
    std::memcpy(&value, &pattern, 4);
    x.push_back(value);
  }
  while (x.size() % kPad != 0) x.push_back(-FLT_MAX);
  Floats fused_result;
  each_table([&](const Kernels &kernels) {
    Floats out(x.size());
    kernels.exponential(x.data(), out.data(), x.size());
    double worst = 0;
    for (size_t i = 0; i < x.size(); i++) {
      const double want = std::exp2(std::fmax(static_cast<double>(x[i]), -125));
      worst = std::fmax(worst, std::fabs(out[i] - want) / want);
    }
    std::printf("       power of two, %s: largest relative error 2^%.2f of %zu points\n", kernels.isa, std::log2(worst),
                x.size());
    CHECK_BOUND(worst, std::ldexp(1.0, -22) / std::sqrt(2.0));
    CHECK(out[0] == 1.0f);
    if (!fused(kernels)) return;
    if (fused_result.empty()) fused_result = out;
    CHECK(fixture::same_bits(fused_result, out));
  });
}

TEST(transpose_turns_every_shape_and_nothing_else) {
  Random random(2);
  for (size_t rows = 1; rows <= 9; rows++) {
    for (size_t columns = 1; columns <= 70; columns += 3) {
      const size_t from_ld = columns + 2, to_ld = rows + 1;
      const Floats from = random.floats(rows * from_ld, 1);
      each_table([&](const Kernels &kernels) {
        Floats to(columns * to_ld, 7.0f);
        kernels.transpose(from.data(), from_ld, rows, columns, to.data(), to_ld);
        for (size_t c = 0; c < columns; c++) {
          for (size_t r = 0; r < rows; r++) CHECK(to[c * to_ld + r] == from[r * from_ld + c]);
          CHECK(to[c * to_ld + rows] == 7.0f);
        }
      });
    }
  }
}

TEST(statistics_join_earlier_blocks) {
  Random random(3);
  const size_t cells = 5;
  Floats weights = random.floats(kTile * kLanes, 1), factor = random.floats(kLanes, 1);
  for (float &w : weights) w = std::fabs(w);
  for (float &f : factor) f = std::fabs(f);
  each_table([&](const Kernels &kernels) {
    Floats maximum(cells, 0.25f), sum(cells, 2.0f), squares(cells, 0.0f);
    kernels.statistics(weights.data(), cells, factor.data(), {maximum.data(), sum.data(), squares.data()});
    for (size_t c = 0; c < cells; c++) {
      double most = 0.25, total = 2, square = 0;
      for (size_t lane = 0; lane < kLanes; lane++) {
        const size_t strip = lane / kernels.strip, within = lane % kernels.strip;
        const double p = double{weights[(strip * kTile + c) * kernels.strip + within]} * factor[lane];
        most = std::fmax(most, p);
        total += p;
        square += p * p;
      }
      // one rounding of the product (two in a square, doubled by squaring), six levels of the tree, the joining
      CHECK_BOUND(std::fabs(maximum[c] - most), std::ldexp(most, -24) * 1.1);
      CHECK_BOUND(std::fabs(sum[c] - total), std::ldexp(8 * total, -24) * 1.1);
      CHECK_BOUND(std::fabs(squares[c] / kSquareScale / kSquareScale - square), std::ldexp(10 * square, -24) * 1.1);
    }
  });
}

TEST(peak_is_measured) {
  CHECK(kvfold_attention_peak(kvfold_attention_isa(0)) > 1e8);
  CHECK(kvfold_attention_peak("nonsense") == 0.0);
}

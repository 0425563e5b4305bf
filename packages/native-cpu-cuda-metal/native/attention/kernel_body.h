// The inner loops, once, over a small vector policy `V`; each instruction set instantiates them with its own policy in
// its own file. Plain header, templates only.
//
// V gives: Reg, kWidth (lanes), kRows x kVectors (accumulators of a product), load, store, set1, add, sub, mul, max,
// fma(a, b, c) = a b + c, scale2(p, t) = p * 2^(low bits of t), zero_below(x, limit, y) = x < limit ? 0 : y,
// sum_lanes and max_lanes (halving trees), transpose4 (4 x 4 floats).
//
// Order of operations: all that decides a bit (tiles, trees, chains over k) is written in lanes of a 64-row block,
// never in registers, so that all widths with fused multiply-add agree.
#ifndef KVFOLD_ATTENTION_KERNEL_BODY_H
#define KVFOLD_ATTENTION_KERNEL_BODY_H

#include "kernels.h"

namespace kvfold {
namespace attention {

template <typename V>
struct Body {
  using Reg = typename V::Reg;
  static constexpr size_t W = V::kWidth;

  // -------------------------------------------------------------------------------------------------- product

  /// One block of M x (N * W) elements of C. `along_row`: the stride over k is 1, else the stride over rows is.
  template <size_t M, size_t N, bool along_row>
  static void block(const Product &p, size_t i, size_t j) {
    Reg acc[M][N];
    float *c = p.c + i * p.ldc + j;
    for (size_t r = 0; r < M; r++)
      for (size_t v = 0; v < N; v++) {
        if (p.begin == Start::zero) acc[r][v] = V::set1(0.0f);
        else if (p.begin == Start::rows) acc[r][v] = V::set1(p.start[i + r]);
        else acc[r][v] = V::mul(V::load(c + r * p.ldc + v * W), V::load(p.start + j + v * W));
      }
    const float *a = along_row ? p.a + i * p.row_stride : p.a + i;
    const float *b = p.b + j;
    const size_t a_row = along_row ? p.row_stride : 1, a_step = along_row ? 1 : p.column_stride;
    for (size_t k = 0; k < p.k; k++) {
      Reg right[N];
      for (size_t v = 0; v < N; v++) right[v] = V::load(b + v * W);
      for (size_t r = 0; r < M; r++) {
        const Reg left = V::set1(a[r * a_row]);
        for (size_t v = 0; v < N; v++) acc[r][v] = V::fma(left, right[v], acc[r][v]);
      }
      a += a_step;
      b += p.ldb;
    }
    for (size_t r = 0; r < M; r++)
      for (size_t v = 0; v < N; v++) {
        float *to = c + r * p.ldc + v * W;
        if (p.finish == Finish::add) acc[r][v] = V::add(V::load(to), acc[r][v]);
        else if (p.finish == Finish::subtract) acc[r][v] = V::sub(V::load(to), acc[r][v]);
        V::store(to, acc[r][v]);
      }
  }

  /// The rows that do not fill a block of M.
  template <size_t M, size_t N, bool along_row>
  static void last_rows(const Product &p, size_t i, size_t j) {
    if constexpr (M > 0) {
      if (p.m - i == M) block<M, N, along_row>(p, i, j);
      else last_rows<M - 1, N, along_row>(p, i, j);
    }
  }

  template <size_t N, bool along_row>
  static void panel(const Product &p, size_t j) {
    size_t i = 0;
    for (; i + V::kRows <= p.m; i += V::kRows) block<V::kRows, N, along_row>(p, i, j);
    last_rows<V::kRows - 1, N, along_row>(p, i, j);
  }

  template <size_t N, bool along_row>
  static void last_columns(const Product &p, size_t j) {
    if constexpr (N > 0) {
      if ((p.n - j) / W >= N) {
        panel<N, along_row>(p, j);
        j += N * W;
      }
      if (j < p.n) last_columns<N - 1, along_row>(p, j);
    }
  }

  template <bool along_row>
  static void columns(const Product &p) {
    size_t j = 0;
    for (; j + V::kVectors * W <= p.n; j += V::kVectors * W) panel<V::kVectors, along_row>(p, j);
    if (j < p.n) last_columns<V::kVectors - 1, along_row>(p, j);
  }

  static void product(const Product &p) {
    if (p.column_stride == 1) columns<true>(p);
    else columns<false>(p);
  }

  // ------------------------------------------------------------------------------------------------ exponential

  /// exp(x) for x <= 0. n = round(x / ln 2), r = x - n ln 2 in two parts, degree-6 polynomial on |r| <= ln 2 / 2
  /// (relative error of the polynomial 3.2e-9), times 2^n. At most 2^-22.5 relative, all told; 0 below -86.5, which
  /// keeps the result normal (and hides what the steps make of arguments far below).
  static Reg exp(Reg x) {
    const Reg low = V::set1(-86.5f);
    const Reg magic = V::set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, in the low bits
    const Reg shifted = V::fma(x, V::set1(1.44269504088896341f), magic);
    const Reg n = V::sub(shifted, magic);
    Reg r = V::fma(n, V::set1(-0.693359375f), x);  // 9 bits: the product is exact
    r = V::fma(n, V::set1(2.12194440e-4f), r);
    Reg p = V::set1(kC6);
    p = V::fma(p, r, V::set1(kC5));
    p = V::fma(p, r, V::set1(kC4));
    p = V::fma(p, r, V::set1(kC3));
    p = V::fma(p, r, V::set1(kC2));
    p = V::fma(p, r, V::set1(1.0f));
    p = V::fma(p, r, V::set1(1.0f));
    return V::zero_below(x, low, V::scale2(p, shifted));
  }
  // Minimax coefficients of (e^r - 1 - r) / r^2 for the relative error of e^r, rounded to f32 one after another.
  static constexpr float kC2 = 4.9999994e-01f, kC3 = 1.6666521e-01f, kC4 = 4.1668266e-02f, kC5 = 8.368677e-03f,
                         kC6 = 1.3820734e-03f;

  static void exponential(const float *x, float *out, size_t count) {
    for (size_t i = 0; i < count; i += W) V::store(out + i, exp(V::load(x + i)));
  }

  // ---------------------------------------------------------------------------------------------------- softmax

  static void softmax(float *scores, size_t cells, const Running &running) {
    constexpr size_t N = kLanes / W, G = N < 4 ? N : 4;  // G registers of lanes at a time
    for (size_t g = 0; g < N; g += G) softmax_group<G>(scores + g * W, cells, running, g * W);
  }

  template <size_t G>
  static void softmax_group(float *scores, size_t cells, const Running &running, size_t lane) {
    Reg top[G], total[G], old[G];
    for (size_t v = 0; v < G; v++) old[v] = top[v] = V::load(running.top + lane + v * W);
    for (size_t c = 0; c < cells; c++)
      for (size_t v = 0; v < G; v++) top[v] = V::max(top[v], V::load(scores + c * kLanes + v * W));
    for (size_t v = 0; v < G; v++) total[v] = V::set1(0.0f);
    for (size_t c = 0; c < cells; c++)
      for (size_t v = 0; v < G; v++) {
        float *at = scores + c * kLanes + v * W;
        const Reg weight = exp(V::sub(V::load(at), top[v]));
        V::store(at, weight);
        total[v] = V::add(total[v], weight);
      }
    for (size_t v = 0; v < G; v++) {
      const size_t at = lane + v * W;
      const Reg correction = exp(V::sub(old[v], top[v]));
      V::store(running.correction + at, correction);
      V::store(running.total + at, V::fma(V::load(running.total + at), correction, total[v]));
      V::store(running.top + at, top[v]);
    }
  }

  // ------------------------------------------------------------------------------------------------- statistics

  /// Per cell: lanes joined by halving (64 -> 32 -> .. -> 1), then joined to what earlier blocks gave.
  static void statistics(const float *weights, size_t cells, const float *factor, const Sums &sums) {
    constexpr size_t N = kLanes / W;
    const Reg scale = V::set1(kSquareScale);
    for (size_t c = 0; c < cells; c++) {
      Reg most[N], sum[N], square[N];
      for (size_t v = 0; v < N; v++) {
        const Reg p = V::mul(V::load(weights + c * kLanes + v * W), V::load(factor + v * W));
        const Reg scaled = V::mul(p, scale);
        most[v] = sum[v] = p;
        square[v] = V::mul(scaled, scaled);
      }
      for (size_t half = N / 2; half > 0; half /= 2)
        for (size_t v = 0; v < half; v++) {
          most[v] = V::max(most[v], most[v + half]);
          sum[v] = V::add(sum[v], sum[v + half]);
          square[v] = V::add(square[v], square[v + half]);
        }
      const float top = V::max_lanes(most[0]);
      sums.maximum[c] = top > sums.maximum[c] ? top : sums.maximum[c];
      sums.sum[c] += V::sum_lanes(sum[0]);
      sums.squares[c] += V::sum_lanes(square[0]);
    }
  }

  static void scale_lanes(const float *from, const float *factor, float *to) {
    for (size_t i = 0; i < kLanes; i += W) V::store(to + i, V::mul(V::load(from + i), V::load(factor + i)));
  }

  // -------------------------------------------------------------------------------------------------- transpose

  static void transpose(const float *from, size_t ld_from, size_t rows, size_t columns, float *to, size_t ld_to) {
    const size_t whole_rows = rows - rows % 4, whole_columns = columns - columns % 4;
    for (size_t c = 0; c < whole_columns; c += 4)
      for (size_t r = 0; r < whole_rows; r += 4)
        V::transpose4(from + r * ld_from + c, ld_from, to + c * ld_to + r, ld_to);
    for (size_t c = 0; c < columns; c++)
      for (size_t r = c < whole_columns ? whole_rows : 0; r < rows; r++) to[c * ld_to + r] = from[r * ld_from + c];
  }

  // ------------------------------------------------------------------------------------------------------ burst

  static constexpr size_t kBurst = 12;  // latency 4 or 5 times two units, and some slack

  static float burst(size_t rounds) {
    Reg acc[kBurst];
    for (size_t i = 0; i < kBurst; i++) acc[i] = V::set1(static_cast<float>(i));
    const Reg a = V::set1(0.999f), b = V::set1(0.001f);
    for (size_t round = 0; round < rounds; round++)
      for (size_t i = 0; i < kBurst; i++) acc[i] = V::fma(acc[i], a, b);
    float sum = 0.0f;
    for (size_t i = 0; i < kBurst; i++) sum += V::sum_lanes(acc[i]);
    return sum;
  }

  static constexpr Kernels table(const char *isa) {
    return {isa,         product,     softmax, exponential, statistics,
            scale_lanes, transpose,   burst,   2 * kBurst * W};
  }
};

}  // namespace attention
}  // namespace kvfold

#endif

// The inner loops, once, over a small vector policy `V`; each instruction set instantiates them with its own policy in
// its own file. Plain header, templates only.
//
// V gives: Reg, kWidth (lanes), kRows x kVectors (accumulators of a product), load, store, set1, add, sub, mul, max,
// fma(a, b, c) = a b + c, scale2(p, t) = p * 2^(low bits of t), sum_lanes and max_lanes (halving trees), transpose4
// (4 x 4 floats). kVectors * kWidth is the strip: kLanes is a multiple of it, it is a multiple of kRows.
//
// Order of operations: all that decides a bit (tiles, trees, chains over k) is written in lanes of a 48-row block,
// never in registers, so that all widths with fused multiply-add agree.
#ifndef KVFOLD_ATTENTION_KERNEL_BODY_H
#define KVFOLD_ATTENTION_KERNEL_BODY_H

#include "kernels.h"

namespace kvfold {
namespace attention {

template <typename V>
struct Body {
  using Reg = typename V::Reg;
  static constexpr size_t W = V::kWidth, S = V::kVectors * W;
  static_assert(kLanes % S == 0 && S % V::kRows == 0 && kLanes % 16 == 0 && 16 % W == 0, "strips fill a block");

  // -------------------------------------------------------------------------------------------------- product

  /// One block of M x (N * W) elements of C. `along_row`: the stride over k is 1, else the stride over rows is.
  template <size_t M, size_t N, bool along_row>
  static void block(const Product &p, size_t i, size_t j) {
    Reg acc[M][N];
    float *c = p.c + i * p.ldc + j;
    auto each = [](auto &&work) {
      for (size_t r = 0; r < M; r++)
        for (size_t v = 0; v < N; v++) work(r, v);
    };
    // one branch for all of a block, so that it stays in registers
    if (p.begin == Start::zero) each([&](size_t r, size_t v) { acc[r][v] = V::set1(0.0f); });
    else if (p.begin == Start::rows) each([&](size_t r, size_t v) { acc[r][v] = V::set1(p.start[i + r]); });
    else
      each([&](size_t r, size_t v) {
        acc[r][v] = V::mul(V::load(c + r * p.ldc + v * W), V::load(p.start + j + v * W));
      });
    const float *a = along_row ? p.a + i * p.row_stride : p.a + i;
    const float *b = p.b + j;
    const size_t a_row = along_row ? p.row_stride : 1, a_step = along_row ? 1 : p.column_stride;
    for (size_t left = p.k; left > 0;) {
      const size_t steps = p.segment == 0 || left < p.segment ? left : p.segment;
#if defined(__GNUC__)
#pragma GCC unroll 4
#endif
      for (size_t k = 0; k < steps; k++) {
        Reg right[N];
        for (size_t v = 0; v < N; v++) right[v] = V::load(b + v * W);
        for (size_t r = 0; r < M; r++) {
          const Reg one = V::set1(a[r * a_row]);
          for (size_t v = 0; v < N; v++) acc[r][v] = V::fma(one, right[v], acc[r][v]);
        }
        a += a_step;
        b += p.ldb;
      }
      left -= steps;
      a += p.jump;
    }
    if (p.finish == Finish::add)
      each([&](size_t r, size_t v) { acc[r][v] = V::add(V::load(c + r * p.ldc + v * W), acc[r][v]); });
    else if (p.finish == Finish::subtract)
      each([&](size_t r, size_t v) { acc[r][v] = V::sub(V::load(c + r * p.ldc + v * W), acc[r][v]); });
    each([&](size_t r, size_t v) { V::store(c + r * p.ldc + v * W, acc[r][v]); });
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

  /// 2^x for x <= 0. n = round(x), r = x - n (exact), degree-6 polynomial on |r| <= 1/2 (relative error 2^-27), times
  /// 2^n. At most 2^-22.5 relative, all told; x counts as -125 below that, which keeps the result normal.
  static Reg exp2(Reg x) {
    const Reg magic = V::set1(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number, in the low bits
    x = V::max(x, V::set1(-125.0f));
    const Reg shifted = V::add(x, magic);
    const Reg r = V::sub(x, V::sub(shifted, magic));
    Reg p = V::set1(kC6);
    p = V::fma(p, r, V::set1(kC5));
    p = V::fma(p, r, V::set1(kC4));
    p = V::fma(p, r, V::set1(kC3));
    p = V::fma(p, r, V::set1(kC2));
    p = V::fma(p, r, V::set1(kC1));
    p = V::fma(p, r, V::set1(1.0f));
    return V::scale2(p, shifted);
  }
  // Minimax coefficients of (2^r - 1) / r for the relative error of 2^r, rounded to f32 one after another.
  static constexpr float kC1 = 0.69314724f, kC2 = 0.24022655f, kC3 = 0.055502728f, kC4 = 0.009617064f,
                         kC5 = 0.0013418143f, kC6 = 0.00015834437f;

  static void exponential(const float *x, float *out, size_t count) {
    for (size_t i = 0; i < count; i += W) V::store(out + i, exp2(V::load(x + i)));
  }

  // ---------------------------------------------------------------------------------------------------- softmax

  static void softmax(float *scores, size_t cells, const Running &running) {
    for (size_t lane = 0; lane < kLanes; lane += S) softmax_strip(scores + lane * kTile, cells, running, lane);
  }

  static void softmax_strip(float *scores, size_t cells, const Running &running, size_t lane) {
    constexpr size_t G = V::kVectors;
    Reg top[G], total[G], old[G];
    for (size_t v = 0; v < G; v++) old[v] = top[v] = V::load(running.top + lane + v * W);
    for (size_t c = 0; c < cells; c++)
      for (size_t v = 0; v < G; v++) top[v] = V::max(top[v], V::load(scores + c * S + v * W));
    for (size_t v = 0; v < G; v++) total[v] = V::set1(0.0f);
    for (size_t c = 0; c < cells; c++)
      for (size_t v = 0; v < G; v++) {
        float *at = scores + c * S + v * W;
        const Reg weight = exp2(V::sub(V::load(at), top[v]));
        V::store(at, weight);
        total[v] = V::add(total[v], weight);
      }
    for (size_t v = 0; v < G; v++) {
      const size_t at = lane + v * W;
      const Reg correction = exp2(V::sub(old[v], top[v]));
      V::store(running.correction + at, correction);
      V::store(running.total + at, V::fma(V::load(running.total + at), correction, total[v]));
      V::store(running.top + at, top[v]);
    }
  }

  // ------------------------------------------------------------------------------------------------- statistics

  /// Per cell: lanes joined in thirds (48 -> 16) and by halving (16 -> 8 -> .. -> 1), then to what earlier blocks gave.
  static void statistics(const float *weights, size_t cells, const float *factor, const Sums &sums) {
    constexpr size_t N = kLanes / W;
    const Reg scale = V::set1(kSquareScale);
    for (size_t c = 0; c < cells; c++) {
      Reg most[N], sum[N], square[N];
      for (size_t v = 0; v < N; v++) {
        const float *strip = weights + v / V::kVectors * (kTile * S) + v % V::kVectors * W;
        const Reg p = V::mul(V::load(strip + c * S), V::load(factor + v * W));
        const Reg scaled = V::mul(p, scale);
        most[v] = sum[v] = p;
        square[v] = V::mul(scaled, scaled);
      }
      constexpr size_t T = 16 / W;
      for (size_t third = T; third < N; third += T)
        for (size_t v = 0; v < T; v++) {
          most[v] = V::max(most[v], most[v + third]);
          sum[v] = V::add(sum[v], sum[v + third]);
          square[v] = V::add(square[v], square[v + third]);
        }
      for (size_t half = T / 2; half > 0; half /= 2)
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

  static void scale(const float *from, const float *factor, float *to, size_t count) {
    for (size_t i = 0; i < count; i += W) V::store(to + i, V::mul(V::load(from + i), V::load(factor + i)));
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
    return {isa, S, product, softmax, exponential, statistics, scale, transpose, burst, 2 * kBurst * W};
  }
};

}  // namespace attention
}  // namespace kvfold

#endif

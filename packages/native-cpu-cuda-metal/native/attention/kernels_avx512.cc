// AVX-512 F, VL, BW, DQ: sixteen floats, thirty-two registers. 8 x 3 accumulators: a strip is a whole block of 48 lanes.
#include <immintrin.h>

#include "kernel_body.h"

namespace kvfold {
namespace attention {
namespace avx512 {

struct Vec {
  using Reg = __m512;
  static constexpr size_t kWidth = 16, kRows = 8, kVectors = 3;

  static Reg load(const float *from) { return _mm512_loadu_ps(from); }
  static void store(float *to, Reg x) { _mm512_storeu_ps(to, x); }
  static Reg set1(float value) { return _mm512_set1_ps(value); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg scale2(Reg p, Reg t) {
    const __m512i shift = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), shift));
  }
  static float sum_lanes(Reg x) {
    const __m256 quarter = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(quarter), _mm256_extractf128_ps(quarter, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  static float max_lanes(Reg x) {
    const __m256 quarter = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(quarter), _mm256_extractf128_ps(quarter, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
  static void transpose4(const float *from, size_t ld_from, float *to, size_t ld_to) {
    __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + ld_from);
    __m128 c = _mm_loadu_ps(from + 2 * ld_from), d = _mm_loadu_ps(from + 3 * ld_from);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to, a);
    _mm_storeu_ps(to + ld_to, b);
    _mm_storeu_ps(to + 2 * ld_to, c);
    _mm_storeu_ps(to + 3 * ld_to, d);
  }
};

}  // namespace avx512

const Kernels kAvx512Kernels = Body<avx512::Vec>::table("avx512");

}  // namespace attention
}  // namespace kvfold

// AVX2 with FMA: eight floats, sixteen registers. 4 x 3 accumulators leave four registers for operands.
#include <immintrin.h>

#include "kernel_body.h"

namespace kvfold {
namespace attention {
namespace avx2 {

struct Vec {
  using Reg = __m256;
  static constexpr size_t kWidth = 8, kRows = 4, kVectors = 3;

  static Reg load(const float *from) { return _mm256_loadu_ps(from); }
  static void store(float *to, Reg x) { _mm256_storeu_ps(to, x); }
  static Reg set1(float value) { return _mm256_set1_ps(value); }
  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg scale2(Reg p, Reg t) {
    const __m256i shift = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), shift));
  }
  static float sum_lanes(Reg x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  static float max_lanes(Reg x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
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

}  // namespace avx2

const Kernels kAvx2Kernels = Body<avx2::Vec>::table("avx2");

}  // namespace attention
}  // namespace kvfold

// AVX2 with F16C: eight floats.
#include <immintrin.h>

#include "cpu/arch/body.h"
#include "cpu/arch/x86_half.h"
#include "cpu/arch/x86_levels.h"

namespace kvfold {
namespace cpu {
namespace avx2 {

struct Vec : X86Levels {
  using Reg = __m256;
  static constexpr size_t kWidth = 8;

  static const __m128i *quarter(const uint8_t *from) { return reinterpret_cast<const __m128i *>(from); }

  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg set1(float value) { return _mm256_set1_ps(value); }
  static Reg load(const float *from) { return _mm256_loadu_ps(from); }
  static void store(float *to, Reg x) { _mm256_storeu_ps(to, x); }
  static Reg load_bytes(const uint8_t *from) { return _mm256_loadu_ps(reinterpret_cast<const float *>(from)); }
  static void store_bytes(uint8_t *to, Reg x) { _mm256_storeu_ps(reinterpret_cast<float *>(to), x); }
  static Reg load_f16(const uint8_t *from) { return _mm256_cvtph_ps(_mm_loadu_si128(quarter(from))); }
  static void store_f16(uint8_t *to, Reg x) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static Reg load_bf16(const uint8_t *from) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(quarter(from))), 16));
  }
  static void store_bf16(uint8_t *to, Reg x) {
    const __m256i bits = _mm256_castps_si256(x), top = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    const __m256i nearest = _mm256_srli_epi32(
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i wide = _mm256_blendv_epi8(nearest, quiet, nan);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(wide, wide), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to), _mm256_castsi256_si128(packed));
  }
  static Reg load_i8(const uint8_t *from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(quarter(from))));
  }
  static __m256i levels(const Reg *x) {
    // packing works in halves of 16 bytes: words 0 4 1 5 2 6 3 7 are brought back in order
    const __m256i low = _mm256_packs_epi32(_mm256_cvttps_epi32(x[0]), _mm256_cvttps_epi32(x[1]));
    const __m256i high = _mm256_packs_epi32(_mm256_cvttps_epi32(x[2]), _mm256_cvttps_epi32(x[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
  }
  static void store_levels(uint8_t *to, const Reg *x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), levels(x));
  }
  /// Halves away from zero. A NaN becomes the least integer, packs into -128 and ends as -127.
  static void store_rounded(uint8_t *to, const Reg *x) {
    Reg away[4];
    for (size_t r = 0; r < 4; r++) away[r] = half_away(x[r]);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), _mm256_max_epi8(levels(away), _mm256_set1_epi8(-127)));
  }
  static float half(const uint8_t *from) { return load_half(from); }
  static void store_half(uint8_t *to, float value) { cpu::store_half(to, value); }

  static void store_words(uint32_t *to, Reg x) {
    const __m256i bits = _mm256_castps_si256(_mm256_add_ps(x, _mm256_set1_ps(kToInteger)));
    const __m256i both = _mm256_blend_epi16(bits, _mm256_slli_epi32(bits, 16), 0xaa);
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), both);
  }
  template <size_t blocks>
  static Reg load_scales(const uint8_t *block) {
    return _mm256_cvtph_ps(gather_scales<blocks>(block));
  }
  static Reg load_largest(const uint32_t *from) {
    const __m256i least = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
    return _mm256_cvtepi32_ps(_mm256_andnot_si256(least, _mm256_set1_epi32(0xffff)));
  }
  static Reg normal(Reg x, Reg *shift) {
    const __m256i bits = _mm256_castps_si256(x), exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f800000));
    *shift = _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32((141 + 127) << 23), exponent));
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_sub_epi32(bits, exponent), _mm256_set1_epi32(141 << 23)));
  }

  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg at_least(Reg a, float limit, Reg x) {
    return _mm256_and_ps(_mm256_cmp_ps(a, _mm256_set1_ps(limit), _CMP_GE_OQ), x);
  }
  static Reg abs(Reg a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static Reg greater(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg less(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Reg half_away(Reg a) {
    const Reg sign = _mm256_and_ps(a, _mm256_set1_ps(-0.0f));
    return _mm256_add_ps(a, _mm256_or_ps(sign, _mm256_set1_ps(0x1.fffffep-2f)));
  }
  static float largest_lane(Reg a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
  static Reg largest_lanes(const Reg *a) {
    const Reg ab = _mm256_max_ps(_mm256_unpacklo_ps(a[0], a[1]), _mm256_unpackhi_ps(a[0], a[1]));
    const Reg cd = _mm256_max_ps(_mm256_unpacklo_ps(a[2], a[3]), _mm256_unpackhi_ps(a[2], a[3]));
    const Reg all = _mm256_max_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm256_max_ps(all, _mm256_permute2f128_ps(all, all, 1));
  }
  static float least_lane(Reg a) {
    __m128 half = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(half, _mm_movehdup_ps(half)));
  }

  static void stream(uint8_t *to, const uint8_t *from, size_t bytes) {
    const size_t head = (32 - reinterpret_cast<uintptr_t>(to) % 32) % 32;
    size_t i = head < bytes ? head : bytes;
    if (i > 0) memcpy(to, from, i);
    for (; i + 128 <= bytes; i += 128) {
      const __m256i *lines = reinterpret_cast<const __m256i *>(from + i);
      __m256i *out = reinterpret_cast<__m256i *>(to + i);
      const __m256i a = _mm256_loadu_si256(lines), b = _mm256_loadu_si256(lines + 1);
      const __m256i c = _mm256_loadu_si256(lines + 2), d = _mm256_loadu_si256(lines + 3);
      _mm256_stream_si256(out, a);
      _mm256_stream_si256(out + 1, b);
      _mm256_stream_si256(out + 2, c);
      _mm256_stream_si256(out + 3, d);
    }
    for (; i + 32 <= bytes; i += 32) {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from + i));
      _mm256_stream_si256(reinterpret_cast<__m256i *>(to + i), x);
    }
    if (i < bytes) memcpy(to + i, from + i, bytes - i);
  }
  static void fence() { _mm_sfence(); }
};

}  // namespace avx2

constexpr Kernels kAvx2Table = Body<avx2::Vec>::table("avx2", Body<avx2::Vec>::make);
const Kernels kAvx2Kernels = kAvx2Table;

}  // namespace cpu
}  // namespace kvfold

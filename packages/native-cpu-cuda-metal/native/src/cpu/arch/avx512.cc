// AVX-512 F, VL, BW, DQ: sixteen floats.
#include <immintrin.h>

#include "cpu/arch/body.h"
#include "cpu/arch/x86_half.h"

namespace kvfold {
namespace cpu {
namespace avx512 {

struct Vec {
  using Reg = __m512;
  static constexpr size_t kWidth = 16;

  static const __m128i *eighth(const uint8_t *from) { return reinterpret_cast<const __m128i *>(from); }
  static const __m256i *half_of(const uint8_t *from) { return reinterpret_cast<const __m256i *>(from); }

  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg set1(float value) { return _mm512_set1_ps(value); }
  static Reg load(const float *from) { return _mm512_loadu_ps(from); }
  static void store(float *to, Reg x) { _mm512_storeu_ps(to, x); }
  static Reg load_bytes(const uint8_t *from) { return _mm512_loadu_ps(from); }
  static void store_bytes(uint8_t *to, Reg x) { _mm512_storeu_ps(to, x); }
  static Reg load_f16(const uint8_t *from) { return _mm512_cvtph_ps(_mm256_loadu_si256(half_of(from))); }
  static void store_f16(uint8_t *to, Reg x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static Reg load_bf16(const uint8_t *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(half_of(from))), 16));
  }
  static void store_bf16(uint8_t *to, Reg x) {
    const __m512i bits = _mm512_castps_si512(x), top = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
    const __m512i nearest = _mm512_srli_epi32(
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512i wide = _mm512_mask_or_epi32(nearest, nan, top, _mm512_set1_epi32(0x40));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), _mm512_cvtepi32_epi16(wide));
  }
  static Reg load_i8(const uint8_t *from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(eighth(from))));
  }
  static void store_levels(uint8_t *to, const Reg *x) {
    for (size_t i = 0; i < 2; i++) {
      const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x[i]));
      _mm_storeu_si128(reinterpret_cast<__m128i *>(to + 16 * i), bytes);
    }
  }
  /// Halves away from zero. A NaN becomes the least integer, saturates at -128 and ends as -127.
  static void store_rounded(uint8_t *to, const Reg *x) {
    for (size_t i = 0; i < 2; i++) {
      const __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_cvttps_epi32(half_away(x[i])));
      _mm_storeu_si128(reinterpret_cast<__m128i *>(to + 16 * i), _mm_max_epi8(bytes, _mm_set1_epi8(-127)));
    }
  }
  static float half(const uint8_t *from) { return load_half(from); }
  static void store_half(uint8_t *to, float value) { cpu::store_half(to, value); }

  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg at_least(Reg a, float limit, Reg x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, _mm512_set1_ps(limit), _CMP_GE_OQ), x);
  }
  static Reg abs(Reg a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
  static Reg greater(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg less(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg half_away(Reg a) {
    // (a and sign) or half, in one step
    const __m512i bits = _mm512_castps_si512(a), sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    const __m512i half = _mm512_castps_si512(_mm512_set1_ps(0x1.fffffep-2f));
    return _mm512_add_ps(a, _mm512_castsi512_ps(_mm512_ternarylogic_epi32(bits, sign, half, 0xea)));
  }
  static float largest_lane(Reg a) { return _mm512_reduce_max_ps(a); }
  static Reg largest_lanes(const Reg *a) {
    const Reg ab = _mm512_max_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
    const Reg cd = _mm512_max_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
    Reg all = _mm512_max_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    all = _mm512_max_ps(all, _mm512_shuffle_f32x4(all, all, 0x4e));
    return _mm512_max_ps(all, _mm512_shuffle_f32x4(all, all, 0xb1));
  }
  static float least_lane(Reg a) { return _mm512_reduce_min_ps(a); }

  static void stream(uint8_t *to, const uint8_t *from, size_t bytes) {
    const size_t head = (64 - reinterpret_cast<uintptr_t>(to) % 64) % 64;
    size_t i = head < bytes ? head : bytes;
    if (i > 0) memcpy(to, from, i);
    for (; i + 64 <= bytes; i += 64)
      _mm512_stream_si512(reinterpret_cast<__m512i *>(to + i), _mm512_loadu_si512(from + i));
    if (i < bytes) memcpy(to + i, from + i, bytes - i);
  }
  static void fence() { _mm_sfence(); }
};

/// Rows come from memory, where most vectors of 64 bytes lie over two cache lines: sums of f16 and q8_0 took 1.1 to 2.9
/// times as long as with vectors of 32 bytes (docs/research.md).
static void make(int32_t type, const Pieces &pieces, const Runs &ahead, const Stream &behind, size_t count,
                 uint8_t *to) {
  kAvx2Kernels.make(type, pieces, ahead, behind, count, to);
}

}  // namespace avx512

constexpr Kernels kAvx512Table = Body<avx512::Vec>::table("avx512", avx512::make);
const Kernels kAvx512Kernels = kAvx512Table;

}  // namespace cpu
}  // namespace kvfold

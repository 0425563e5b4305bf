// F16C conversions, eight at a time; the tail goes through a padded vector.
#include "cpu/arch/x86_f16c.h"

#include <immintrin.h>

namespace kvfold {
namespace cpu {
namespace x86_f16c {

void f16_to_f32(const uint8_t *from, float *to, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + 2 * i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(half));
  }
  if (i == count) return;
  alignas(16) uint16_t half[8] = {0};
  alignas(32) float wide[8];
  __builtin_memcpy(half, from + 2 * i, 2 * (count - i));
  _mm256_store_ps(wide, _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i *>(half))));
  __builtin_memcpy(to + i, wide, 4 * (count - i));
}

void f32_to_f16(const float *from, uint8_t *to, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(to + 2 * i), half);
  }
  if (i == count) return;
  alignas(32) float wide[8] = {0};
  alignas(16) uint16_t half[8];
  __builtin_memcpy(wide, from + i, 4 * (count - i));
  _mm_store_si128(reinterpret_cast<__m128i *>(half), _mm256_cvtps_ph(_mm256_load_ps(wide), _MM_FROUND_TO_NEAREST_INT));
  __builtin_memcpy(to + 2 * i, half, 2 * (count - i));
}

}  // namespace x86_f16c
}  // namespace cpu
}  // namespace kvfold

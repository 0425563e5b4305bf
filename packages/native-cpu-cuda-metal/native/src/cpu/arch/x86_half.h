// Single f16 numbers with F16C. Internal linkage: files with compiler flags of their own include this.
#ifndef KVFOLD_CPU_ARCH_X86_HALF_H
#define KVFOLD_CPU_ARCH_X86_HALF_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace kvfold {
namespace cpu {

static inline uint16_t half_bits(const uint8_t *from) {
  uint16_t bits;
  memcpy(&bits, from, sizeof bits);
  return bits;
}

static inline float load_half(const uint8_t *from) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(half_bits(from)))));
}

static inline void store_half(uint8_t *to, float value) {
  const int bits = _mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT));
  memcpy(to, &bits, 2);
}

}  // namespace cpu
}  // namespace kvfold

#endif

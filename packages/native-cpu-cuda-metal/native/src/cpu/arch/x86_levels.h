// Integers of q8_0 blocks in vectors of 32 bytes. Internal linkage: files with compiler flags of their own include it.
#ifndef KVFOLD_CPU_ARCH_X86_LEVELS_H
#define KVFOLD_CPU_ARCH_X86_LEVELS_H

#include "cpu/arch/x86_half.h"

namespace kvfold {
namespace cpu {
namespace {

struct X86Levels {
  /// Added to a float of magnitude up to 2^22 it leaves the nearest integer in the low bits.
  static constexpr float kToInteger = 0x1.8p23f;

  /// Compilers load what they use twice in both places, but half of the blocks lie over two cache lines.
  static __m256i load_once(const uint8_t *from) {
    __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from));
#if defined(__GNUC__)
    asm("" : "+x"(bytes));
#endif
    return bytes;
  }
  static __m256i words(const int16_t *from) { return _mm256_load_si256(reinterpret_cast<const __m256i *>(from)); }
  static void keep(int16_t *to, __m256i x) { _mm256_store_si256(reinterpret_cast<__m256i *>(to), x); }
  static __m256i high_bytes() { return _mm256_set1_epi16(static_cast<short>(0xff00)); }

  /// Of at most eight blocks.
  template <size_t blocks>
  static __m128i gather_scales(const uint8_t *block) {
    __m128i half = _mm_setzero_si128();
    if constexpr (blocks > 0) half = _mm_insert_epi16(half, half_bits(block), 0);
    if constexpr (blocks > 1) half = _mm_insert_epi16(half, half_bits(block + 34), 1);
    if constexpr (blocks > 2) half = _mm_insert_epi16(half, half_bits(block + 2 * 34), 2);
    if constexpr (blocks > 3) half = _mm_insert_epi16(half, half_bits(block + 3 * 34), 3);
    if constexpr (blocks > 4) half = _mm_insert_epi16(half, half_bits(block + 4 * 34), 4);
    if constexpr (blocks > 5) half = _mm_insert_epi16(half, half_bits(block + 5 * 34), 5);
    if constexpr (blocks > 6) half = _mm_insert_epi16(half, half_bits(block + 6 * 34), 6);
    if constexpr (blocks > 7) half = _mm_insert_epi16(half, half_bits(block + 7 * 34), 7);
    return half;
  }

  /// Channels 0 2 4 .. 30, then 1 3 5 .. 31: one byte of a word is shifted up, the other is there.
  template <size_t members, bool first, bool last, typename Pass>
  static KVFOLD_INLINE void add_levels(const Levels &levels, Lanes *lanes, const Pass &pass) {
    const uint8_t *block[members > 0 ? members : 1];
    for (size_t m = 0; m < members; m++) block[m] = levels.from[m] + levels.at;
    size_t at = 0, left = levels.blocks;
    for (; left >= 8; left -= 8) {
      for (size_t pair = 0; pair < 4; pair++, at += 2 * 34) add_two<members, first, last>(block, at, lanes);
      pass(8);
    }
    if (left == 0) return;
    for (size_t pair = left / 2; pair > 0; pair--, at += 2 * 34) add_two<members, first, last>(block, at, lanes);
    if (left % 2 != 0) add_block<members, first, last>(block, at, lanes);
    pass(left);
  }
  template <size_t members, bool first, bool last>
  static KVFOLD_INLINE void add_two(const uint8_t *const *block, size_t at, Lanes *lanes) {
    add_block<members, first, last>(block, at, lanes);
    add_block<members, first, last>(block, at + 34, lanes);
  }
  template <size_t members, bool first, bool last>
  static KVFOLD_INLINE void add_block(const uint8_t *const *block, size_t at, Lanes *lanes) {
    int16_t *const sum = lanes->sum;
    __m256i even = first ? _mm256_setzero_si256() : words(sum), odd = first ? even : words(sum + 16);
    for (size_t m = 0; m < members; m++) {
      const __m256i q = load_once(block[m] + at);
      const __m256i by = _mm256_set1_epi32(static_cast<int>(lanes->factor[m * lanes->stride]));
      const __m256i low = _mm256_mulhrs_epi16(_mm256_slli_epi16(q, 8), by);
      const __m256i high = _mm256_mulhrs_epi16(_mm256_and_si256(q, high_bytes()), by);
      even = first && m == 0 ? low : _mm256_add_epi16(even, low);
      odd = first && m == 0 ? high : _mm256_add_epi16(odd, high);
    }
    keep(sum, even);
    keep(sum + 16, odd);
    if (last) *lanes->largest = least_complement(_mm256_max_epu16(_mm256_abs_epi16(even), _mm256_abs_epi16(odd)));
    lanes->factor++;
    lanes->sum += 32;
    lanes->largest++;
  }
  /// In the low half, and above it where that is.
  static uint32_t least_complement(__m256i magnitude) {
    const __m128i half = _mm_max_epu16(_mm256_castsi256_si128(magnitude), _mm256_extracti128_si256(magnitude, 1));
    const __m128i least = _mm_minpos_epu16(_mm_xor_si128(half, _mm_set1_epi16(-1)));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(least));
  }

  static __m256i to_level(__m256i sum, __m256i shift, __m256i inverse) {
    return _mm256_mulhrs_epi16(_mm256_mullo_epi16(sum, shift), inverse);
  }
  static void store_sums(const int16_t *sum, uint32_t shift, uint32_t inverse, uint8_t *to) {
    const __m256i up = _mm256_set1_epi32(static_cast<int>(shift)), by = _mm256_set1_epi32(static_cast<int>(inverse));
    const __m256i even = _mm256_mulhrs_epi16(to_level(words(sum), up, by), _mm256_set1_epi16(256));
    const __m256i odd = _mm256_add_epi16(to_level(words(sum + 16), up, by), _mm256_set1_epi16(64));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), _mm256_blendv_epi8(even, _mm256_slli_epi16(odd, 1), high_bytes()));
  }
};

}  // namespace
}  // namespace cpu
}  // namespace kvfold

#endif

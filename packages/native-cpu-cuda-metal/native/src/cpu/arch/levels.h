// Nibbles and fifth bits of a block of 32 channels as bytes, and back. Loops that compilers turn into vectors.
#ifndef KVFOLD_CPU_ARCH_LEVELS_H
#define KVFOLD_CPU_ARCH_LEVELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace kvfold {
namespace cpu {

static inline void unpack_nibbles(const uint8_t *from, uint8_t *level) {
  for (size_t i = 0; i < 16; i++) level[i] = from[i] & 15;
  for (size_t i = 0; i < 16; i++) level[16 + i] = from[i] >> 4;
}

/// The low four bits of each level.
static inline void pack_nibbles(const uint8_t *level, uint8_t *to) {
  for (size_t i = 0; i < 16; i++) to[i] = static_cast<uint8_t>((level[i] & 15) | (level[16 + i] << 4));
}

/// Bit i is the fifth bit of channel i. Eight bits at a time: a product lays a copy of the byte over every byte, the
/// mask leaves bit i in byte i, and the sum carries it to bit 7.
static inline void add_fifth_bits(const uint8_t *from, uint8_t *level) {
  for (size_t byte = 0; byte < 4; byte++) {
    uint64_t word = (from[byte] * 0x0101010101010101ull) & 0x8040201008040201ull;
    word = ((word + 0x00406070787c7e7full) & 0x8080808080808080ull) >> 3;
    for (size_t i = 0; i < 8; i++) level[8 * byte + i] |= static_cast<uint8_t>(word >> (8 * i));
  }
}

static inline void pack_fifth_bits(const uint8_t *level, uint8_t *to) {
  for (size_t byte = 0; byte < 4; byte++) {
    unsigned bits = 0;
    for (size_t i = 0; i < 8; i++) bits |= static_cast<unsigned>((level[8 * byte + i] >> 4) & 1) << i;
    to[byte] = static_cast<uint8_t>(bits);
  }
}

}  // namespace cpu
}  // namespace kvfold

#endif

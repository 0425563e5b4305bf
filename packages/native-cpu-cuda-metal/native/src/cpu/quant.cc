// Rows of every storage type to floats and back, in f32 as ggml does it (ggml-quants.c, the `_ref` functions): the
// scale is stored in f16, the integers are made with the scale before that rounding.
//
//     q8_0  d | 32 signed bytes                 x = q d             error <= d / 2
//     q4_0  d | 16 bytes of nibbles             x = (q - 8) d       <= d at the end opposite to the largest
//     q4_1  d m | 16 bytes of nibbles           x = q d + m         <= d / 2
//     q5_0  d | fifth bits | nibbles            x = (q - 16) d      <= d
//     q5_1  d m | fifth bits | nibbles          x = q d + m         <= d / 2
// Nibble i of the low half is channel i, of the high half channel 16 + i.
#include "cpu/quant.h"

#include <cmath>
#include <cstring>

#include "common/tensor.h"
#include "cpu/arch/arch.h"
#include "cpu/half.h"

namespace kvfold {
namespace cpu {
namespace {

template <typename T>
T load(const uint8_t *from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void store(uint8_t *to, T value) {
  std::memcpy(to, &value, sizeof value);
}

float load_half(const uint8_t *from) { return f16_to_f32(load<uint16_t>(from)); }
void store_half(uint8_t *to, float value) { store<uint16_t>(to, f32_to_f16(value)); }

/// Truncates into [low, high]; NaN gives low, so garbage in a cache is no undefined behaviour here.
int to_level(float value, int low, int high) {
  if (!(value > static_cast<float>(low))) return low;
  return value < static_cast<float>(high) ? static_cast<int>(value) : high;
}

void decode_q8(const uint8_t *from, float *to) {
  const float d = load_half(from);
  for (uint32_t i = 0; i < kBlockChannels; i++) to[i] = static_cast<float>(static_cast<int8_t>(from[2 + i])) * d;
}

void encode_q8(const float *from, uint8_t *to) {
  float largest = 0;
  for (uint32_t i = 0; i < kBlockChannels; i++) {
    const float magnitude = std::fabs(from[i]);
    if (magnitude > largest) largest = magnitude;
  }
  const float d = largest / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
  store_half(to, d);
  for (uint32_t i = 0; i < kBlockChannels; i++)
    to[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(to_level(std::round(from[i] * inverse), -127, 127)));
}

/// 4 or 5 bits a channel, with or without a stored minimum.
template <int bits, bool minimum>
struct Small {
  static constexpr int kLevels = 1 << bits;
  static constexpr size_t kFifth = minimum ? 4 : 2;
  static constexpr size_t kNibbles = kFifth + (bits == 5 ? 4 : 0);

  static void decode(const uint8_t *from, float *to) {
    const float d = load_half(from), m = minimum ? load_half(from + 2) : 0.0f;
    const uint32_t fifth = bits == 5 ? load<uint32_t>(from + kFifth) : 0;
    for (uint32_t i = 0; i < kBlockChannels; i++) {
      const uint8_t byte = from[kNibbles + i % 16];
      const int q = (i < 16 ? byte & 15 : byte >> 4) | static_cast<int>(((fifth >> i) & 1u) << 4);
      to[i] = minimum ? static_cast<float>(q) * d + m : static_cast<float>(q - kLevels / 2) * d;
    }
  }

  static void encode(const float *from, uint8_t *to) {
    float low = from[0], high = from[0], extreme = 0;
    for (uint32_t i = 0; i < kBlockChannels; i++) {
      if (from[i] < low) low = from[i];
      if (from[i] > high) high = from[i];
      if (std::fabs(from[i]) > std::fabs(extreme)) extreme = from[i];
    }
    const float d = minimum ? (high - low) / (kLevels - 1) : extreme / -(kLevels / 2);
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    store_half(to, d);
    if (minimum) store_half(to + 2, low);
    uint32_t fifth = 0;
    for (uint32_t i = 0; i < kBlockChannels; i++) {
      const float steps = minimum ? (from[i] - low) * inverse + 0.5f : from[i] * inverse + (kLevels / 2 + 0.5f);
      const uint32_t q = static_cast<uint32_t>(to_level(steps, 0, kLevels - 1));
      uint8_t *byte = to + kNibbles + i % 16;
      *byte = static_cast<uint8_t>(i < 16 ? (q & 15u) : (*byte | ((q & 15u) << 4)));
      fifth |= (q >> 4) << i;
    }
    if (bits == 5) store<uint32_t>(to + kFifth, fifth);
  }
};

template <void (*block)(const uint8_t *, float *)>
void decode_blocks(const uint8_t *from, float *to, size_t count, size_t bytes) {
  for (size_t i = 0; i < count; i += kBlockChannels, from += bytes) block(from, to + i);
}

template <void (*block)(const float *, uint8_t *)>
void encode_blocks(const float *from, uint8_t *to, size_t count, size_t bytes) {
  for (size_t i = 0; i < count; i += kBlockChannels, to += bytes) block(from + i, to);
}

}  // namespace

float decode_element(int32_t type, const uint8_t *from) {
  if (type == KVFOLD_F32) return load<float>(from);
  const uint16_t half = load<uint16_t>(from);
  return type == KVFOLD_F16 ? f16_to_f32(half) : bf16_to_f32(half);
}

void encode_element(int32_t type, float value, uint8_t *to) {
  if (type == KVFOLD_F32) store<float>(to, value);
  else store<uint16_t>(to, type == KVFOLD_F16 ? f32_to_f16(value) : f32_to_bf16(value));
}

void decode(int32_t type, const uint8_t *from, float *to, size_t count) {
  const size_t bytes = type_size(type).bytes;
  switch (type) {
    case KVFOLD_F32: std::memcpy(to, from, count * 4); break;
    case KVFOLD_F16: primitives().f16_to_f32(from, to, count); break;
    case KVFOLD_BF16:
      for (size_t i = 0; i < count; i++) to[i] = bf16_to_f32(load<uint16_t>(from + 2 * i));
      break;
    case KVFOLD_Q8_0: decode_blocks<decode_q8>(from, to, count, bytes); break;
    case KVFOLD_Q4_0: decode_blocks<Small<4, false>::decode>(from, to, count, bytes); break;
    case KVFOLD_Q4_1: decode_blocks<Small<4, true>::decode>(from, to, count, bytes); break;
    case KVFOLD_Q5_0: decode_blocks<Small<5, false>::decode>(from, to, count, bytes); break;
    case KVFOLD_Q5_1: decode_blocks<Small<5, true>::decode>(from, to, count, bytes); break;
    default: break;  // refused by kvfold_check_memory
  }
}

void encode(int32_t type, const float *from, uint8_t *to, size_t count) {
  const size_t bytes = type_size(type).bytes;
  switch (type) {
    case KVFOLD_F32: std::memcpy(to, from, count * 4); break;
    case KVFOLD_F16: primitives().f32_to_f16(from, to, count); break;
    case KVFOLD_BF16:
      for (size_t i = 0; i < count; i++) store<uint16_t>(to + 2 * i, f32_to_bf16(from[i]));
      break;
    case KVFOLD_Q8_0: encode_blocks<encode_q8>(from, to, count, bytes); break;
    case KVFOLD_Q4_0: encode_blocks<Small<4, false>::encode>(from, to, count, bytes); break;
    case KVFOLD_Q4_1: encode_blocks<Small<4, true>::encode>(from, to, count, bytes); break;
    case KVFOLD_Q5_0: encode_blocks<Small<5, false>::encode>(from, to, count, bytes); break;
    case KVFOLD_Q5_1: encode_blocks<Small<5, true>::encode>(from, to, count, bytes); break;
    default: break;
  }
}

}  // namespace cpu
}  // namespace kvfold

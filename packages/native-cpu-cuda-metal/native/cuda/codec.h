// Storage types in device code: the arithmetic of cpu/half.h and cpu/arch/storage.h, operation by operation, so that the
// bits are the same. (A NaN keeps no payload on its way through the conversion instructions of the GPU.)
#ifndef KVFOLD_CUDA_CODEC_H
#define KVFOLD_CUDA_CODEC_H

#include "common/tensor.h"
#include "cuda/runtime.h"

#if !defined(__CUDA_ARCH__)
#include "cpu/half.h"
#endif

namespace kvfold {
namespace cuda {

#if defined(__CUDA_ARCH__)
__device__ inline float f16_to_f32(uint16_t half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
}
__device__ inline uint16_t f32_to_f16(float value) {
  uint16_t half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
}
__device__ inline float bf16_to_f32(uint16_t half) { return __uint_as_float(static_cast<uint32_t>(half) << 16); }
__device__ inline uint16_t f32_to_bf16(float value) {
  const uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
#elif defined(__CUDACC__)
// nvcc's pass over the host code only needs the names.
__device__ float f16_to_f32(uint16_t half);
__device__ uint16_t f32_to_f16(float value);
__device__ float bf16_to_f32(uint16_t half);
__device__ uint16_t f32_to_bf16(float value);
#else
using cpu::bf16_to_f32;
using cpu::f16_to_f32;
using cpu::f32_to_bf16;
using cpu::f32_to_f16;
#endif

__device__ inline uint16_t load_half(const uint8_t *from) { return *reinterpret_cast<const uint16_t *>(from); }
__device__ inline void store_half(uint8_t *to, uint16_t half) { *reinterpret_cast<uint16_t *>(to) = half; }

/// Blocks start at even addresses: 32 bits of theirs in two halves.
__device__ inline uint32_t load_word(const uint8_t *from) {
  return load_half(from) | static_cast<uint32_t>(load_half(from + 2)) << 16;
}

/// One element of a float type.
__device__ inline float decode_element(int32_t type, const uint8_t *from) {
  if (type == KVFOLD_F32) return *reinterpret_cast<const float *>(from);
  return type == KVFOLD_F16 ? f16_to_f32(load_half(from)) : bf16_to_f32(load_half(from));
}

__device__ inline void encode_element(int32_t type, float value, uint8_t *to) {
  if (type == KVFOLD_F32) *reinterpret_cast<float *>(to) = value;
  else store_half(to, type == KVFOLD_F16 ? f32_to_f16(value) : f32_to_bf16(value));
}

struct Form {
  uint32_t bits;     ///< 4, 5 or 8
  bool minimum;      ///< stored beside the scale
  uint32_t fifth;    ///< where the fifth bits are
  uint32_t nibbles;  ///< where the integers are
};

__device__ inline Form form_of(int32_t type) {
  switch (type) {
    case KVFOLD_Q4_0: return {4, false, 0, 2};
    case KVFOLD_Q4_1: return {4, true, 0, 4};
    case KVFOLD_Q5_0: return {5, false, 2, 6};
    case KVFOLD_Q5_1: return {5, true, 4, 8};
    default: return {8, false, 0, 2};
  }
}

/// One element of a block.
__device__ inline float decode_in_block(int32_t type, const uint8_t *block, uint32_t i) {
  const Form form = form_of(type);
  const float d = f16_to_f32(load_half(block));
  if (form.bits == 8) return static_cast<float>(static_cast<int8_t>(block[2 + i])) * d;
  const uint32_t byte = block[form.nibbles + i % 16];
  uint32_t q = i < 16 ? byte & 15u : byte >> 4;
  if (form.bits == 5) q |= ((load_word(block + form.fifth) >> i) & 1u) << 4;
  if (form.minimum) return static_cast<float>(q) * d + f16_to_f32(load_half(block + 2));
  return static_cast<float>(static_cast<int>(q) - (1 << (form.bits - 1))) * d;
}

/// Element j of a slice in row layout.
__device__ inline float decode_at(int32_t type, const uint8_t *slice, uint32_t j) {
  switch (type) {
    case KVFOLD_F32: return decode_element(type, slice + 4 * size_t{j});
    case KVFOLD_F16:
    case KVFOLD_BF16: return decode_element(type, slice + 2 * size_t{j});
    default: return decode_in_block(type, slice + size_t{j / kBlockChannels} * type_size(type).bytes, j % kBlockChannels);
  }
}

/// Truncates into [low, high]; NaN gives low.
__device__ inline int to_level(float value, int low, int high) {
  if (!(value > static_cast<float>(low))) return low;
  return value < static_cast<float>(high) ? static_cast<int>(value) : high;
}

__device__ inline void encode_q8(const float *from, uint8_t *to) {
  float largest = 0;
  for (uint32_t i = 0; i < kBlockChannels; i++) {
    const float magnitude = fabsf(from[i]);
    if (magnitude > largest) largest = magnitude;
  }
  const float d = largest / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
  store_half(to, f32_to_f16(d));
  for (uint32_t i = 0; i < kBlockChannels; i++)
    to[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(to_level(roundf(from[i] * inverse), -127, 127)));
}

__device__ inline void encode_small(const Form &form, const float *from, uint8_t *to) {
  const int levels = 1 << form.bits;
  float low = from[0], high = from[0], extreme = 0;
  for (uint32_t i = 0; i < kBlockChannels; i++) {
    if (from[i] < low) low = from[i];
    if (from[i] > high) high = from[i];
    if (fabsf(from[i]) > fabsf(extreme)) extreme = from[i];
  }
  const float d = form.minimum ? (high - low) / static_cast<float>(levels - 1)
                               : extreme / static_cast<float>(-(levels / 2));
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  store_half(to, f32_to_f16(d));
  if (form.minimum) store_half(to + 2, f32_to_f16(low));
  uint32_t fifth = 0;
  for (uint32_t i = 0; i < 16; i++) {
    uint32_t both = 0;
    for (uint32_t part = 0; part < 2; part++) {
      const float x = from[i + 16 * part];
      const float steps = form.minimum ? (x - low) * inverse + 0.5f
                                       : x * inverse + (static_cast<float>(levels / 2) + 0.5f);
      const uint32_t q = static_cast<uint32_t>(to_level(steps, 0, levels - 1));
      both |= (q & 15u) << (4 * part);
      fifth |= (q >> 4) << (i + 16 * part);
    }
    to[form.nibbles + i] = static_cast<uint8_t>(both);
  }
  if (form.bits == 5) {
    store_half(to + form.fifth, static_cast<uint16_t>(fifth));
    store_half(to + form.fifth + 2, static_cast<uint16_t>(fifth >> 16));
  }
}

/// 32 floats to a block.
__device__ inline void encode_block(int32_t type, const float *from, uint8_t *to) {
  if (type == KVFOLD_Q8_0) encode_q8(from, to);
  else encode_small(form_of(type), from, to);
}

}  // namespace cuda
}  // namespace kvfold

#endif

// types.metal: storage types to floats and back, in integer arithmetic: the same bits as the CPU backend. First part of
// the kernel text; the parts are compiled as one, in the order of kernel_text.cmake.
#include <metal_stdlib>
#pragma METAL fp contract(off)

using namespace metal;
using namespace kvfold::metal;

inline float f16_to_f32(uint half_bits) {
  const uint sign = (half_bits & 0x8000u) << 16, exponent = (half_bits >> 10) & 31u, mantissa = half_bits & 1023u;
  if (exponent == 31u)
    return as_type<float>(sign | 0x7f800000u | (mantissa << 13) | (mantissa != 0u ? 0x400000u : 0u));
  if (exponent != 0u) return as_type<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  return as_type<float>(sign | as_type<uint>((float)mantissa * 5.9604644775390625e-8f));
}

inline uint f32_to_f16(float value) {
  const uint bits = as_type<uint>(value), magnitude = bits & 0x7fffffffu, sign = (bits >> 16) & 0x8000u;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // from 65520 on
  if (magnitude < 0x38800000u)                          // below 2^-14: adding 0.5 rounds to multiples of 2^-24
    return sign | (as_type<uint>(as_type<float>(magnitude) + 0.5f) - 0x3f000000u);
  const uint rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return sign | ((rounded - 0x38000000u) >> 13);
}

inline uint f32_to_bf16(float value) {
  const uint bits = as_type<uint>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

inline bool is_finite(float value) { return (as_type<uint>(value) & 0x7f800000u) != 0x7f800000u; }

// Storage is aligned to 2 bytes, f32 to 4.
inline uint load_half_bits(device const uchar *from) { return ((device const ushort *)from)[0]; }
inline void store_half_bits(device uchar *to, uint bits) { ((device ushort *)to)[0] = (ushort)bits; }

inline float load_element(uint type, device const uchar *from) {
  if (type == kF32) return ((device const float *)from)[0];
  const uint bits = load_half_bits(from);
  return type == kF16 ? f16_to_f32(bits) : as_type<float>(bits << 16);
}

// False when what is stored is not finite.
inline bool store_element(uint type, float value, device uchar *to) {
  if (type == kF32) {
    ((device float *)to)[0] = value;
    return is_finite(value);
  }
  const uint bits = type == kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  store_half_bits(to, bits);
  const uint exponent = type == kF16 ? 0x7c00u : 0x7f80u;
  return (bits & exponent) != exponent;
}

inline bool is_block_type(uint type) { return type != kF32 && type != kF16 && type != kBf16; }

// A block of 32 channels: d | [m] | [fifth bits] | nibbles, or d | signed bytes. Structs are passed by reference, with
// their address space.
struct Block {
  float d, m;
  uint fifth;
  uint data;  // byte where the levels begin
};

inline bool has_minimum(uint type) { return type == kQ4_1 || type == kQ5_1; }
inline bool has_fifth(uint type) { return type == kQ5_0 || type == kQ5_1; }

inline uint block_bytes(uint type) {
  return type == kQ8_0 ? 34u : 18u + (has_minimum(type) ? 2u : 0u) + (has_fifth(type) ? 4u : 0u);
}

inline void open_block(uint type, device const uchar *from, thread Block &block) {
  block.d = f16_to_f32(load_half_bits(from));
  block.m = 0.0f;
  block.fifth = 0u;
  block.data = 2u;
  if (has_minimum(type)) {
    block.m = f16_to_f32(load_half_bits(from + 2));
    block.data = 4u;
  }
  if (has_fifth(type)) {
    block.fifth = load_half_bits(from + block.data) | (load_half_bits(from + block.data + 2) << 16);
    block.data += 4u;
  }
}

inline float block_channel(uint type, thread const Block &block, device const uchar *from, uint i) {
  if (type == kQ8_0) {
    const int level = (int)from[2u + i];
    return (float)(level > 127 ? level - 256 : level) * block.d;
  }
  const uint byte = from[block.data + i % 16u];
  const uint level = (i < 16u ? byte & 15u : byte >> 4) | (((block.fifth >> i) & 1u) << 4);
  if (has_minimum(type)) {
    const float above = (float)level * block.d;
    return above + block.m;
  }
  return (float)((int)level - (has_fifth(type) ? 16 : 8)) * block.d;
}

// One channel of a slice in row layout.
inline float load_channel(uint type, device const uchar *slice, uint channel) {
  if (!is_block_type(type)) return load_element(type, slice + (ulong)channel * (type == kF32 ? 4u : 2u));
  device const uchar *at = slice + (ulong)(channel / 32u) * block_bytes(type);
  Block block;
  open_block(type, at, block);
  return block_channel(type, block, at, channel % 32u);
}

// Channels [first, first + count) of a slice in row layout; count is kChunk for block types.
inline void load_chunk(uint type, device const uchar *slice, uint first, uint count, thread float *to) {
  if (is_block_type(type)) {
    device const uchar *at = slice + (ulong)(first / 32u) * block_bytes(type);
    Block block;
    open_block(type, at, block);
    for (uint i = 0; i < kChunk; i++) to[i] = block_channel(type, block, at, i);
    return;
  }
  const uint bytes = type == kF32 ? 4u : 2u;
  device const uchar *at = slice + (ulong)first * bytes;
  for (uint i = 0; i < kChunk; i++) to[i] = i < count ? load_element(type, at + i * bytes) : 0.0f;
}

// Truncates into [low, high]; NaN gives low.
inline int to_level(float value, int low, int high) {
  if (!(value > (float)low)) return low;
  return value < (float)high ? (int)value : high;
}

inline bool store_q8(thread const float *from, device uchar *to) {
  float largest = 0.0f;
  for (uint i = 0; i < kChunk; i++) {
    const float magnitude = from[i] < 0.0f ? -from[i] : from[i];
    if (magnitude > largest) largest = magnitude;
  }
  const float d = largest / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
  const uint bits = f32_to_f16(d);
  store_half_bits(to, bits);
  for (uint i = 0; i < kChunk; i++) to[2u + i] = (uchar)(to_level(round(from[i] * inverse), -127, 127) & 255);
  return (bits & 0x7c00u) != 0x7c00u;
}

// 4 or 5 bits a channel; nibble i of the low half is channel i, of the high half channel 16 + i.
inline bool store_small(uint type, thread const float *from, device uchar *to) {
  const bool minimum = has_minimum(type);
  const int levels = has_fifth(type) ? 32 : 16;
  float low = from[0], high = from[0], extreme = 0.0f, most = 0.0f;
  for (uint i = 0; i < kChunk; i++) {
    if (from[i] < low) low = from[i];
    if (from[i] > high) high = from[i];
    const float magnitude = from[i] < 0.0f ? -from[i] : from[i];
    if (magnitude > most) {
      most = magnitude;
      extreme = from[i];
    }
  }
  const float d = minimum ? (high - low) / (float)(levels - 1) : extreme / (float)(-(levels / 2));
  const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
  const uint d_bits = f32_to_f16(d), m_bits = minimum ? f32_to_f16(low) : 0u;
  store_half_bits(to, d_bits);
  if (minimum) store_half_bits(to + 2, m_bits);
  const uint after = minimum ? 4u : 2u;
  device uchar *nibbles = to + after + (has_fifth(type) ? 4u : 0u);
  uint fifth = 0u;
  for (uint i = 0; i < 16u; i++) {
    uint byte = 0u;
    for (uint half_index = 0; half_index < 2u; half_index++) {
      const uint channel = i + 16u * half_index;
      const float scaled = (minimum ? from[channel] - low : from[channel]) * inverse;
      const uint level =
          (uint)to_level(scaled + (minimum ? 0.5f : (float)(levels / 2) + 0.5f), 0, levels - 1);
      byte |= (level & 15u) << (4u * half_index);
      fifth |= (level >> 4) << channel;
    }
    nibbles[i] = (uchar)byte;
  }
  if (has_fifth(type)) {
    store_half_bits(to + after, fifth & 0xffffu);
    store_half_bits(to + after + 2, fifth >> 16);
  }
  return (d_bits & 0x7c00u) != 0x7c00u && (m_bits & 0x7c00u) != 0x7c00u;
}

// Channels [first, first + count) of a slice in row layout. False when what is stored is not finite.
inline bool store_chunk(uint type, thread const float *from, uint first, uint count, device uchar *slice) {
  if (is_block_type(type)) {
    device uchar *at = slice + (ulong)(first / 32u) * block_bytes(type);
    return type == kQ8_0 ? store_q8(from, at) : store_small(type, from, at);
  }
  const uint bytes = type == kF32 ? 4u : 2u;
  device uchar *at = slice + (ulong)first * bytes;
  bool finite = true;
  for (uint i = 0; i < kChunk; i++) {
    if (i < count) finite = store_element(type, from[i], at + i * bytes) && finite;
  }
  return finite;
}

// Where the slice of a slot and head begins, in row layout.
inline ulong slice_at(constant TensorLayout &tensor, uint slot, uint head) {
  return tensor.base + (ulong)slot * tensor.row_bytes + (ulong)head * tensor.slice_bytes;
}

// Where the element of a channel (0 .. heads * dim) and slot lies, transposed.
inline ulong lane_at(constant TensorLayout &tensor, uint channel, uint slot) {
  return tensor.base + ((ulong)channel * tensor.capacity + slot) * tensor.element_bytes;
}

// Where element j of a computed slice lies in the scratch of a transposed tensor: per head [channels, its slices].
inline ulong scratch_lane_at(constant TensorLayout &tensor, uint before, uint count, uint j, uint number) {
  return ((ulong)before * tensor.dim + (ulong)j * count + (number - before)) * tensor.element_bytes;
}

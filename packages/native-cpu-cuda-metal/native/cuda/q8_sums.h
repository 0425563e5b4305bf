// Sums of q8_0 slices in fixed point (common/q8_sums.h): a block by eight neighbouring lanes, four channels each.
#ifndef KVFOLD_CUDA_Q8_SUMS_H
#define KVFOLD_CUDA_Q8_SUMS_H

#include "common/q8_sums.h"
#include "cuda/codec.h"

namespace kvfold {
namespace cuda {

constexpr uint32_t kQ8Lanes = 8, kQ8Channels = kBlockChannels / kQ8Lanes;

/// round(a b / 2^15), halves up.
__device__ inline int q8_product(int a, int b) { return (a * b + (1 << 14)) >> 15; }

/// The largest of the eight lanes of a block. All lanes of a warp call it.
__device__ inline int q8_largest(int value) {
  for (uint32_t step = kQ8Lanes / 2; step > 0; step /= 2) {
    const int other = __shfl_xor_sync(0xffffffffu, value, step);
    value = other > value ? other : value;
  }
  return value;
}

/// Sums, and largest magnitude of all channels, to levels and scale.
__device__ inline void store_q8_sums(const int *sum, int largest, float total, uint32_t lane, uint8_t *block) {
  int normal = largest > 1 ? largest : 1, shift = normal < 1 << 15 ? 1 : 0;
  for (int step = 8; step > 0; step /= 2) {
    if (normal << step >= 1 << 15) continue;
    normal <<= step;
    shift <<= step;
  }
  // 2^15 comes of scales that are no numbers: as the vectors of the CPU have it
  const int inverse = static_cast<int>(rintf(kQ8Steps / static_cast<float>(normal < 1 << 15 ? normal : 1 << 14)));
  uint32_t levels = 0;
  for (uint32_t i = 0; i < kQ8Channels; i++) {
    const int up = static_cast<int16_t>(sum[i] * shift);
    const int level = (q8_product(up, inverse) + 64) >> 7;
    levels |= (static_cast<uint32_t>(level) & 255u) << (8 * i);
  }
  uint8_t *to = block + 2 + kQ8Channels * lane;
  store_half(to, static_cast<uint16_t>(levels));
  store_half(to + 2, static_cast<uint16_t>(levels >> 16));
  if (lane == 0) store_half(block, f32_to_f16(static_cast<float>(largest) * (total * kQ8Scale)));
}

/// In f32, for slices of very many members.
template <typename Terms>
__device__ inline void sum_q8_floats(const Terms &terms, uint2 span, uint8_t *to) {
  float sum[kBlockChannels];
  for (uint32_t i = 0; i < kBlockChannels; i++) sum[i] = 0.0f;
  for (uint32_t m = span.x; m < span.y; m++) {
    const float weight = terms.weight(m);
    if (weight == 0.0f) continue;
    const uint8_t *block = terms.block(m);
    for (uint32_t i = 0; i < kBlockChannels; i++) sum[i] += weight * decode_in_block(KVFOLD_Q8_0, block, i);
  }
  encode_q8(sum, to);
}

/// One block of a row: members [span.x, span.y), with terms.weight(m) and terms.block(m). All lanes of a warp call it
/// together, those that are not `active` for the others' sake.
template <typename Terms>
__device__ inline void sum_q8_block(const Terms &terms, uint2 span, bool active, uint8_t *to) {
  constexpr uint32_t kInFlight = 4;
  const uint32_t lane = threadIdx.x % kQ8Lanes;
  if (!active) span.y = span.x;
  uint32_t count = 0;
  float total = 0.0f;
  for (uint32_t m = span.x; m < span.y; m += kInFlight) {
    float weight[kInFlight];
    uint16_t scale[kInFlight];
#pragma unroll
    for (uint32_t i = 0; i < kInFlight; i++) {
      weight[i] = m + i < span.y ? terms.weight(m + i) : 0.0f;
      scale[i] = weight[i] != 0.0f ? load_half(terms.block(m + i)) : 0;
    }
#pragma unroll
    for (uint32_t i = 0; i < kInFlight; i++) {
      if (weight[i] == 0.0f) continue;
      total += fabsf(weight[i] * f16_to_f32(scale[i]));
      count++;
    }
  }
  const float unit = total >= kQ8Least ? kQ8Full / total : 0.0f;
  const bool fixed = count <= kQ8Terms;
  int sum[kQ8Channels] = {0, 0, 0, 0};
  for (uint32_t m = span.x; fixed && m < span.y; m += kInFlight) {
    float weight[kInFlight];
    uint16_t scale[kInFlight];
    uint32_t levels[kInFlight];
#pragma unroll
    for (uint32_t i = 0; i < kInFlight; i++) {
      weight[i] = m + i < span.y ? terms.weight(m + i) : 0.0f;
      if (weight[i] == 0.0f) continue;
      const uint8_t *block = terms.block(m + i);
      scale[i] = load_half(block);
      levels[i] = load_word(block + 2 + kQ8Channels * lane);
    }
#pragma unroll
    for (uint32_t i = 0; i < kInFlight; i++) {
      if (weight[i] == 0.0f) continue;
      const float share = weight[i] * f16_to_f32(scale[i]) * unit;
      const int factor = static_cast<int>(rintf(share > -32767.0f ? share : -32767.0f));
#pragma unroll
      for (uint32_t j = 0; j < kQ8Channels; j++) {
        const int level = static_cast<int8_t>(levels[i] >> (8 * j));
        sum[j] = static_cast<int16_t>(sum[j] + q8_product(256 * level, factor));
      }
    }
  }
  int largest = 0;
#pragma unroll
  for (uint32_t j = 0; j < kQ8Channels; j++) largest = abs(sum[j]) > largest ? abs(sum[j]) : largest;
  largest = q8_largest(largest);
  if (!active) return;
  if (fixed) store_q8_sums(sum, largest, total, lane, to);
  else if (lane == 0) sum_q8_floats(terms, span, to);
}

}  // namespace cuda
}  // namespace kvfold

#endif

// q8_sums.metal: sums of q8_0 blocks in fixed point, as common/q8_sums.h defines them, so with the bits of the CPU.

inline float weight_at(constant ComputeParameters &p, device const float *weights, uint head, uint member) {
  return weights[(ulong)(p.weight_group + head * p.weight_per_head) * p.members + member];
}

inline int source_at(constant ComputeParameters &p, device const int *sources, uint head, uint cell) {
  return sources[p.source_per_head != 0u ? (ulong)head * p.cells + cell : (ulong)cell];
}

inline long turn_of(int position, int source) { return (long)position - (long)source; }

// Whether a slice has at most kQ8Terms members of a weight other than 0, and none of them turns.
inline bool is_fixed_sum(constant ComputeParameters &p, device const uint *offsets, device const uint *members,
                         device const float *weights, device const int *positions, device const int *sources, uint head,
                         uint row) {
  if (p.tensor.type != kQ8_0) return false;
  uint terms = 0u;
  for (uint m = offsets[row]; m < offsets[row + 1u]; m++) {
    if (weight_at(p, weights, head, m) == 0.0f) continue;
    terms++;
    if (p.rope.pairs != 0u && turn_of(positions[row], source_at(p, sources, head, members[m])) != 0) return false;
  }
  return terms <= kQ8Terms;
}

// round(a b / 2^15), halves up.
inline int q8_product(int a, int b) { return (a * b + 16384) >> 15; }

inline void store_q8_sums(thread const int *sum, float total, device uchar *to) {
  int largest = 0;
  for (uint i = 0; i < kChunk; i++) {
    const int magnitude = sum[i] < 0 ? -sum[i] : sum[i];
    if (magnitude > largest) largest = magnitude;
  }
  store_half_bits(to, f32_to_f16((float)largest * (total * KVFOLD_METAL_Q8_SCALE)));
  int normal = largest > 1 ? largest : 1, shift = normal < 32768 ? 1 : 0;
  for (int step = 8; step > 0; step /= 2) {
    if (normal << step >= 32768) continue;
    normal <<= step;
    shift <<= step;
  }
  const int inverse = (int)rint(KVFOLD_METAL_Q8_STEPS / (float)(normal < 32768 ? normal : 16384));
  for (uint i = 0; i < kChunk; i++) {
    const int up = (int)(short)(sum[i] * shift);
    to[2u + i] = (uchar)(((q8_product(up, inverse) + 64) >> 7) & 255);
  }
}

// The block that begins at channel `first`.
inline void sum_q8_block(constant ComputeParameters &p, device const uchar *cache, device const uint *offsets,
                         device const uint *members, device const float *weights, device const uint *slots, uint head,
                         uint row, uint first, device uchar *slice) {
  const ulong inside = (ulong)(first / 32u) * 34u;
  float total = 0.0f;
  for (uint m = offsets[row]; m < offsets[row + 1u]; m++) {
    const float weight = weight_at(p, weights, head, m);
    if (weight == 0.0f) continue;
    device const uchar *from = cache + slice_at(p.tensor, slots[members[m]], head) + inside;
    const float product = weight * f16_to_f32(load_half_bits(from));
    total += product < 0.0f ? -product : product;
  }
  const float unit = total >= KVFOLD_METAL_Q8_LEAST ? KVFOLD_METAL_Q8_FULL / total : 0.0f;
  int sum[kChunk];
  for (uint i = 0; i < kChunk; i++) sum[i] = 0;
  for (uint m = offsets[row]; m < offsets[row + 1u]; m++) {
    const float weight = weight_at(p, weights, head, m);
    if (weight == 0.0f) continue;
    device const uchar *from = cache + slice_at(p.tensor, slots[members[m]], head) + inside;
    const float product = weight * f16_to_f32(load_half_bits(from)), share = product * unit;
    const int factor = (int)rint(share > -32767.0f ? share : -32767.0f);
    for (uint i = 0; i < kChunk; i++) {
      const int level = (int)from[2u + i];
      sum[i] = (int)(short)(sum[i] + q8_product(256 * (level > 127 ? level - 256 : level), factor));
    }
  }
  store_q8_sums(sum, total, slice + inside);
}


// fold.metal: computed slices: decode, turn, weighted sum in f32 in the order of the members, encode; q8_0 that does
// not turn in fixed point (q8_sums.metal). A slice that only one member with weight 1 makes, unturned, starts as a copy
// of its bytes (`copies` names the slot, or kNone).

// Row layout. `places`: entry of the slice table [slices]; one thread for each slice and chunk of channels
kernel void compute_rows(constant ComputeParameters &p [[buffer(0)]], device const uchar *cache [[buffer(1)]],
                         device uchar *scratch [[buffer(2)]], device const uint *places [[buffer(3)]],
                         device const uint *copies [[buffer(4)]], device const uint *offsets [[buffer(5)]],
                         device const uint *members [[buffer(6)]], device const float *weights [[buffer(7)]],
                         device const uint *slots [[buffer(8)]], device const int *positions [[buffer(9)]],
                         device const int *sources [[buffer(10)]], device const ulong *turns [[buffer(11)]],
                         uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint number = id / p.chunks, first = id % p.chunks * kChunk;
  const uint head = places[number] / p.rows, row = places[number] % p.rows;
  const uint left = p.tensor.dim - first, count = left < kChunk ? left : kChunk;
  device uchar *slice = scratch + (ulong)number * p.tensor.slice_bytes;
  if (copies[number] != kNone) {
    device const uchar *from = cache + slice_at(p.tensor, copies[number], head);
    const ulong begin = (ulong)first * p.tensor.slice_bytes / p.tensor.dim;
    const ulong end = (ulong)(first + count) * p.tensor.slice_bytes / p.tensor.dim;
    for (ulong i = begin; i < end; i++) slice[i] = from[i];
    return;
  }
  if (is_fixed_sum(p, offsets, members, weights, positions, sources, head, row)) {
    sum_q8_block(p, cache, offsets, members, weights, slots, head, row, first, slice);
    return;
  }
  float sum[kChunk], member[kChunk];
  for (uint i = 0; i < kChunk; i++) sum[i] = 0.0f;
  for (uint m = offsets[row]; m < offsets[row + 1u]; m++) {
    const float weight = weight_at(p, weights, head, m);
    if (weight == 0.0f) continue;
    const uint cell = members[m];
    device const uchar *from = cache + slice_at(p.tensor, slots[cell], head);
    load_chunk(p.tensor.type, from, first, count, member);
    const long delta = p.rope.pairs != 0u ? turn_of(positions[row], source_at(p, sources, head, cell)) : 0;
    for (uint i = 0; i < kChunk; i++) {
      float value = member[i];
      if (delta != 0 && i < count && first + i < 2u * p.rope.pairs) {
        Rotated channel;
        rotated_channel(p.rope, first + i, channel);
        const float partner = load_channel(p.tensor.type, from, channel.partner);
        value = turned_channel(value, partner, channel.second, delta, turns[channel.pair]);
      }
      sum[i] += weight * value;
    }
  }
  store_chunk(p.tensor.type, sum, first, count, slice);
}

// Transposed values. `begins`: computed slices before each head [heads + 1]; one thread for each slice and channel,
// neighbours on neighbouring slices
kernel void compute_lanes(constant ComputeParameters &p [[buffer(0)]], device const uchar *cache [[buffer(1)]],
                          device uchar *scratch [[buffer(2)]], device const uint *places [[buffer(3)]],
                          device const uint *copies [[buffer(4)]], device const uint *offsets [[buffer(5)]],
                          device const uint *members [[buffer(6)]], device const float *weights [[buffer(7)]],
                          device const uint *slots [[buffer(8)]], device const uint *begins [[buffer(9)]],
                          uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint number = id % p.slices, j = id / p.slices;
  const uint head = places[number] / p.rows, row = places[number] % p.rows;
  const uint before = begins[head], count = begins[head + 1u] - before, channel = head * p.tensor.dim + j;
  device uchar *to = scratch + scratch_lane_at(p.tensor, before, count, j, number);
  if (copies[number] != kNone) {
    device const uchar *from = cache + lane_at(p.tensor, channel, copies[number]);
    for (uint i = 0; i < p.tensor.element_bytes; i++) to[i] = from[i];
    return;
  }
  float sum = 0.0f;
  for (uint m = offsets[row]; m < offsets[row + 1u]; m++) {
    const float weight = weight_at(p, weights, head, m);
    if (weight == 0.0f) continue;
    sum += weight * load_element(p.tensor.type, cache + lane_at(p.tensor, channel, slots[members[m]]));
  }
  store_element(p.tensor.type, sum, to);
}

// Keys of one head that are turned out of their Hadamard basis: `plain` holds all its cells in the plain basis
// [cells, dim], `out` gets its computed slices [slices of the head, dim]; one thread for each slice and channel
kernel void combine_turned(constant ComputeParameters &p [[buffer(0)]], device const float *plain [[buffer(1)]],
                           device float *out [[buffer(2)]], device const uint *places [[buffer(3)]],
                           device const uint *offsets [[buffer(4)]], device const uint *members [[buffer(5)]],
                           device const float *weights [[buffer(6)]], device const int *positions [[buffer(7)]],
                           device const int *sources [[buffer(8)]], device const ulong *turns [[buffer(9)]],
                           uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint number = id / p.tensor.dim, j = id % p.tensor.dim;
  const uint row = places[p.first_slice + number] % p.rows;
  const bool turned = j < 2u * p.rope.pairs;
  float sum = 0.0f;
  for (uint m = offsets[row]; m < offsets[row + 1u]; m++) {
    const float weight = weight_at(p, weights, p.head, m);
    if (weight == 0.0f) continue;
    const uint cell = members[m];
    device const float *key = plain + (ulong)cell * p.tensor.dim;
    float value = key[j];
    const long delta = turn_of(positions[row], source_at(p, sources, p.head, cell));
    if (turned && delta != 0) {
      Rotated channel;
      rotated_channel(p.rope, j, channel);
      value = turned_channel(value, key[channel.partner], channel.second, delta, turns[channel.pair]);
    }
    sum += weight * value;
  }
  out[id] = sum;
}

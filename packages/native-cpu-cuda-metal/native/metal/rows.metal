// rows.metal: slices of one head to rows of floats, and rows of floats to slices of a fold's scratch.

// `entries`: a slot of the cache, or with the bit kComputed the number of a slice in `scratch` [rows].
// out: [rows, dim], in the basis of the cache; one thread for each row and chunk, neighbours on neighbouring rows
kernel void decode_rows(constant DecodeParameters &p [[buffer(0)]], device const uchar *cache [[buffer(1)]],
                        device const uchar *scratch [[buffer(2)]], device const uint *entries [[buffer(3)]],
                        device float *out [[buffer(4)]], uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint row = id % p.rows, first = id / p.rows * kChunk;
  const uint left = p.tensor.dim - first, count = left < kChunk ? left : kChunk;
  const uint entry = entries[row], number = entry & ~kComputed;
  const bool computed = (entry & kComputed) != 0u;
  device float *to = out + (ulong)row * p.tensor.dim + first;
  if (p.tensor.transposed == 0u) {
    float values[kChunk];
    if (computed)
      load_chunk(p.tensor.type, scratch + (ulong)number * p.tensor.slice_bytes, first, count, values);
    else
      load_chunk(p.tensor.type, cache + slice_at(p.tensor, number, p.head), first, count, values);
    for (uint i = 0; i < count; i++) to[i] = values[i];
    return;
  }
  for (uint i = 0; i < count; i++) {
    const uint j = first + i, channel = p.head * p.tensor.dim + j;
    if (computed)
      to[i] = load_element(p.tensor.type, scratch + scratch_lane_at(p.tensor, p.before, p.count, j, number));
    else
      to[i] = load_element(p.tensor.type, cache + lane_at(p.tensor, channel, number));
  }
}

// rows: [rows, dim]; `numbers`: of the slices in scratch [rows]; `unstorable`: 1 where the type cannot hold a chunk
// [rows, chunks]. With p.store 0 the bytes go nowhere. One thread for each row and chunk
kernel void encode_rows(constant EncodeParameters &p [[buffer(0)]], device const float *rows [[buffer(1)]],
                        device uchar *scratch [[buffer(2)]], device const uint *numbers [[buffer(3)]],
                        device uchar *unstorable [[buffer(4)]], device uchar *trial [[buffer(5)]],
                        uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint row = id / p.chunks, first = id % p.chunks * kChunk;
  const uint left = p.tensor.dim - first, count = left < kChunk ? left : kChunk;
  device const float *from = rows + (ulong)row * p.tensor.dim + first;
  float values[kChunk];
  for (uint i = 0; i < kChunk; i++) values[i] = i < count ? from[i] : 0.0f;
  const uint number = p.store != 0u ? numbers[row] : row;
  bool finite = true;
  if (p.tensor.transposed == 0u) {
    device uchar *slices = p.store != 0u ? scratch : trial;
    finite = store_chunk(p.tensor.type, values, first, count, slices + (ulong)number * p.tensor.slice_bytes);
  } else {
    for (uint i = 0; i < count; i++) {
      device uchar *to = p.store != 0u
                             ? scratch + scratch_lane_at(p.tensor, p.before, p.count, first + i, number)
                             : trial + ((ulong)row * p.tensor.dim + first + i) * p.tensor.element_bytes;
      finite = store_element(p.tensor.type, values[i], to) && finite;
    }
  }
  unstorable[id] = finite ? 0 : 1;
}

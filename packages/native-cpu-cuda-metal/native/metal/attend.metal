// attend.metal: attention of one block of kLanes query rows over the cells of one KV head.
//
//   scores [cells, lanes] -> exp(score - top of its segment) -> times factor [segments, lanes]: softmax weights
//
// Lanes are query rows and lie side by side: neighbouring threads read neighbouring floats. Each sum is one chain of
// fused multiply-adds or a fixed tree, so the bits do not depend on how threads are scheduled.

// exp(x) for x <= 0, the polynomial of the attention library (kernel_body.h): at most 2^-22.5 relative, 0 below -86.5.
inline float exponential(float x) {
  if (x < -86.5f) return 0.0f;
  const float shifted = fma(x, 1.44269504088896341f, 12582912.0f), n = shifted - 12582912.0f;
  float r = fma(n, -0.693359375f, x);
  r = fma(n, 2.12194440e-4f, r);
  float e = 1.3820734e-03f;
  e = fma(e, r, 8.368677e-03f);
  e = fma(e, r, 4.1668266e-02f);
  e = fma(e, r, 1.6666521e-01f);
  e = fma(e, r, 4.9999994e-01f);
  e = fma(e, r, 1.0f);
  e = fma(e, r, 1.0f);
  return as_type<float>(as_type<uint>(e) + (as_type<uint>(shifted) << 23));
}

// queries: [rows, key_dim]; out: [key_dim, lanes], 0 in lanes without a row; one thread for each element
kernel void turn_block(constant AttendParameters &p [[buffer(0)]], device const float *queries [[buffer(1)]],
                       device float *block [[buffer(2)]], uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint lane = id % kLanes, j = id / kLanes;
  block[id] = lane < p.lanes ? queries[(ulong)(p.first + lane) * p.key_dim + j] : 0.0f;
}

// out: [cells, lanes]; one thread for each tile of 4 cells and 4 lanes
kernel void score_tiles(constant AttendParameters &p [[buffer(0)]], device const float *block [[buffer(1)]],
                        device const float *keys [[buffer(2)]], device const float *bias [[buffer(3)]],
                        device float *scores [[buffer(4)]], uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint lane = id % (kLanes / kTile) * kTile, cell = id / (kLanes / kTile) * kTile;
  const uint count = p.cells - cell < kTile ? p.cells - cell : kTile;
  float sum[kTile][kTile];
  for (uint c = 0; c < kTile; c++) {
    const float start = p.biased != 0u && c < count ? bias[cell + c] : 0.0f;
    for (uint l = 0; l < kTile; l++) sum[c][l] = start;
  }
  for (uint j = 0; j < p.key_dim; j++) {
    device const float *query = block + j * kLanes + lane;
    for (uint c = 0; c < kTile; c++) {
      const float key = c < count ? keys[(ulong)(cell + c) * p.key_dim + j] : 0.0f;
      for (uint l = 0; l < kTile; l++) sum[c][l] = fma(key, query[l], sum[c][l]);
    }
  }
  for (uint c = 0; c < count; c++) {
    for (uint l = 0; l < kTile; l++) scores[(ulong)(cell + c) * kLanes + lane + l] = sum[c][l];
  }
}

// scores [cells, lanes] -> exponentials in place; tops and totals: [segments, lanes]; one thread for each segment and
// lane
kernel void softmax_segments(constant AttendParameters &p [[buffer(0)]], device float *scores [[buffer(1)]],
                             device float *tops [[buffer(2)]], device float *totals [[buffer(3)]],
                             uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint lane = id % kLanes, first = id / kLanes * kSegment;
  const uint end = p.cells - first < kSegment ? p.cells : first + kSegment;
  device float *column = scores + lane;
  float top = column[(ulong)first * kLanes], total = 0.0f;
  for (uint cell = first + 1u; cell < end; cell++) {
    const float score = column[(ulong)cell * kLanes];
    if (score > top) top = score;
  }
  for (uint cell = first; cell < end; cell++) {
    const float weight = exponential(column[(ulong)cell * kLanes] - top);
    column[(ulong)cell * kLanes] = weight;
    total += weight;
  }
  tops[id] = top;
  totals[id] = total;
}

// Tops become the factors of their segments, 0 in lanes without a row; one thread for each lane
kernel void softmax_rows(constant AttendParameters &p [[buffer(0)]], device float *tops [[buffer(1)]],
                         device const float *totals [[buffer(2)]], uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  float top = tops[id], total = 0.0f;
  for (uint s = 1; s < p.segments; s++) {
    if (tops[(ulong)s * kLanes + id] > top) top = tops[(ulong)s * kLanes + id];
  }
  for (uint s = 0; s < p.segments; s++) {
    const ulong at = (ulong)s * kLanes + id;
    tops[at] = exponential(tops[at] - top);
    total = fma(totals[at], tops[at], total);
  }
  const float inverse = id < p.lanes ? 1.0f / total : 0.0f;
  for (uint s = 0; s < p.segments; s++) tops[(ulong)s * kLanes + id] *= inverse;
}

// Joins the weights of the block to statistics over all rows: maximum, sum, and squares of KVFOLD_METAL_SQUARE_SCALE
// times the weight [cells]. Lanes are added in a tree. One thread for each cell
kernel void join_statistics(constant AttendParameters &p [[buffer(0)]], device const float *weights [[buffer(1)]],
                            device const float *factors [[buffer(2)]], device float *maximum [[buffer(3)]],
                            device float *sums [[buffer(4)]], device float *squares [[buffer(5)]],
                            uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  device const float *weight = weights + (ulong)id * kLanes, *factor = factors + (ulong)(id / kSegment) * kLanes;
  float most = maximum[id], sum[8], square[8];
  for (uint g = 0; g < 8u; g++) {
    float part[8], part_square[8];
    for (uint i = 0; i < 8u; i++) {
      part[i] = weight[g * 8u + i] * factor[g * 8u + i];
      if (part[i] > most) most = part[i];
      const float scaled = part[i] * KVFOLD_METAL_SQUARE_SCALE;
      part_square[i] = scaled * scaled;
    }
    for (uint width = 4; width > 0u; width /= 2u) {
      for (uint i = 0; i < width; i++) {
        part[i] += part[i + width];
        part_square[i] += part_square[i + width];
      }
    }
    sum[g] = part[0];
    square[g] = part_square[0];
  }
  for (uint width = 4; width > 0u; width /= 2u) {
    for (uint i = 0; i < width; i++) {
      sum[i] += sum[i + width];
      square[i] += square[i + width];
    }
  }
  maximum[id] = most;
  sums[id] += sum[0];
  squares[id] += square[0];
}

// Exponentials times values, by segment. out: [segments, value_dim, lanes]; one thread for each segment and tile of 4
// channels and 4 lanes
kernel void output_tiles(constant AttendParameters &p [[buffer(0)]], device const float *weights [[buffer(1)]],
                         device const float *values [[buffer(2)]], device float *partial [[buffer(3)]],
                         uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint lane = id % (kLanes / kTile) * kTile, tiles = (p.value_dim + kTile - 1u) / kTile;
  const uint rest = id / (kLanes / kTile), channel = rest % tiles * kTile, segment = rest / tiles;
  const uint count = p.value_dim - channel < kTile ? p.value_dim - channel : kTile, first = segment * kSegment;
  const uint end = p.cells - first < kSegment ? p.cells : first + kSegment;
  float sum[kTile][kTile];
  for (uint c = 0; c < kTile; c++) {
    for (uint l = 0; l < kTile; l++) sum[c][l] = 0.0f;
  }
  for (uint cell = first; cell < end; cell++) {
    device const float *weight = weights + (ulong)cell * kLanes + lane;
    device const float *value = values + (ulong)cell * p.value_dim + channel;
    for (uint c = 0; c < kTile; c++) {
      const float v = c < count ? value[c] : 0.0f;
      for (uint l = 0; l < kTile; l++) sum[c][l] = fma(v, weight[l], sum[c][l]);
    }
  }
  for (uint c = 0; c < count; c++) {
    for (uint l = 0; l < kTile; l++)
      partial[((ulong)segment * p.value_dim + channel + c) * kLanes + lane + l] = sum[c][l];
  }
}

// outputs: [rows, value_dim]: of the block's rows, or with p.subtract what is missing to what stands there already; one
// thread for each lane and channel
kernel void join_outputs(constant AttendParameters &p [[buffer(0)]], device const float *partial [[buffer(1)]],
                         device const float *factors [[buffer(2)]], device float *outputs [[buffer(3)]],
                         uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint lane = id / p.value_dim, channel = id % p.value_dim;
  float sum = 0.0f;
  for (uint s = 0; s < p.segments; s++)
    sum = fma(partial[((ulong)s * p.value_dim + channel) * kLanes + lane], factors[(ulong)s * kLanes + lane], sum);
  device float *to = outputs + (ulong)(p.first + lane) * p.value_dim + channel;
  to[0] = p.subtract != 0u ? to[0] - sum : sum;
}

// Softmax weights of some cells. free: [free]; out: [rows, free]; one thread for each lane and free cell
kernel void gather_weights(constant AttendParameters &p [[buffer(0)]], device const float *weights [[buffer(1)]],
                           device const float *factors [[buffer(2)]], device const uint *free [[buffer(3)]],
                           device float *out [[buffer(4)]], uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint lane = id / p.free, f = id % p.free, cell = free[f];
  out[(ulong)(p.first + lane) * p.free + f] =
      weights[(ulong)cell * kLanes + lane] * factors[(ulong)(cell / kSegment) * kLanes + lane];
}

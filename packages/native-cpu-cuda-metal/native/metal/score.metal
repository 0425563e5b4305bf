// score.metal: key statistics of one head, and the largest number of an array.

// out: the length of each row [rows]; one thread for each row
kernel void norm_rows(constant ScoreParameters &p [[buffer(0)]], device const float *rows [[buffer(1)]],
                      device float *norms [[buffer(2)]], uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  device const float *row = rows + (ulong)id * p.dim;
  float sum = 0.0f;
  for (uint j = 0; j < p.dim; j++) sum += row[j] * row[j];
  norms[id] = sqrt(sum);
}

// out: sums of kSumRows unit vectors each [blocks, dim]; short, because the host adds them up in double. One thread for
// each block and channel
kernel void sum_directions(constant ScoreParameters &p [[buffer(0)]], device const float *rows [[buffer(1)]],
                           device const float *norms [[buffer(2)]], device float *sums [[buffer(3)]],
                           uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const uint block = id / p.dim, j = id % p.dim, first = block * kSumRows;
  const uint end = p.rows - first < kSumRows ? p.rows : first + kSumRows;
  float sum = 0.0f;
  for (uint row = first; row < end; row++) {
    if (norms[row] > 0.0f) sum += rows[(ulong)row * p.dim + j] / norms[row];
  }
  sums[id] = sum;
}

// out: the cosine of each row to `mean`, a unit vector or 0 [rows]; one thread for each row
kernel void compare_rows(constant ScoreParameters &p [[buffer(0)]], device const float *rows [[buffer(1)]],
                         device const float *norms [[buffer(2)]], device const float *mean [[buffer(3)]],
                         device float *cosines [[buffer(4)]], uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  device const float *row = rows + (ulong)id * p.dim;
  float sum = 0.0f;
  for (uint j = 0; j < p.dim; j++) sum += row[j] * mean[j];
  cosines[id] = norms[id] > 0.0f ? sum / norms[id] : 0.0f;
}

// out: bits of the largest magnitude of each kScan numbers; those of what is not finite are above all others. One
// thread for each kScan numbers
kernel void largest_bits(constant ScanParameters &p [[buffer(0)]], device const uint *numbers [[buffer(1)]],
                         device uint *largest [[buffer(2)]], uint id [[thread_position_in_grid]]) {
  if (id >= p.threads) return;
  const ulong count = ((ulong)p.count_high << 32) | p.count_low, first = (ulong)id * kScan;
  const ulong end = count - first < kScan ? count : first + kScan;
  uint most = 0u;
  for (ulong i = first; i < end; i++) {
    const uint magnitude = numbers[i] & 0x7fffffffu;
    if (magnitude > most) most = magnitude;
  }
  largest[id] = most;
}

// Planted: a pointer to constants becomes one into device memory.
kernel void planted(constant float *table [[buffer(0)]], device float *out [[buffer(1)]],
                    uint id [[thread_position_in_grid]]) {
  device const float *from = table;
  out[id] = from[id];
}

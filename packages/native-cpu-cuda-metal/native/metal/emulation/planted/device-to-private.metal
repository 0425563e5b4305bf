// Planted: a pointer into device memory becomes one without an address space.
kernel void planted(device float *rows [[buffer(0)]], uint id [[thread_position_in_grid]]) {
  float *row = rows + id;
  row[0] = 0.0f;
}

// Planted: a kernel takes a pointer without an address space.
kernel void planted(float *rows [[buffer(0)]], uint id [[thread_position_in_grid]]) { rows[id] = 0.0f; }

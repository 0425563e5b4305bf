// Planted: a function that takes a pointer of the thread gets one into device memory.
inline void clear(thread float *values) { values[0] = 0.0f; }
kernel void planted(device float *rows [[buffer(0)]], uint id [[thread_position_in_grid]]) { clear(rows + id); }

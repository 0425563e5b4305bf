// Planted: a kernel writes its parameters.
kernel void planted(constant ScanParameters &p [[buffer(0)]], uint id [[thread_position_in_grid]]) { p.threads = id; }

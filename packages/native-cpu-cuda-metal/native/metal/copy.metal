// copy.metal: the commit: old rows to the undo log, new rows into the cache. Bytes only. A source cell that the fold
// overwrites is read from the undo log, so that threads may run in any order.
//
// Rows move in units of 16, 4 or 2 bytes, the largest that divides every size and offset of the tensor.

// undo: [rows, row units]; one thread for each row and unit
template <typename Unit>
inline void save_row_unit(constant CopyParameters &p, device const Unit *cache, device Unit *undo,
                          device const uint *destinations, uint id) {
  if (id >= p.threads) return;
  const uint row = p.first + id / p.row_units, unit = id % p.row_units;
  undo[(ulong)row * p.row_units + unit] = cache[p.base + (ulong)destinations[row] * p.row_units + unit];
}

// table: [heads, rows]; row_of_slot: [capacity]; one thread for each row and unit
template <typename Unit>
inline void write_row_unit(constant CopyParameters &p, device Unit *cache, device const Unit *scratch,
                           device const Unit *undo, device const uint *destinations, device const uint *table,
                           device const uint *row_of_slot, uint id) {
  if (id >= p.threads) return;
  const uint row = p.first + id / p.row_units, unit = id % p.row_units, head = unit / p.slice_units;
  const uint entry = table[(ulong)head * p.rows + row];
  const ulong to = p.base + (ulong)destinations[row] * p.row_units + unit;
  if ((entry & kComputed) != 0u) {
    cache[to] = scratch[(ulong)(entry & ~kComputed) * p.slice_units + unit % p.slice_units];
  } else if (entry != destinations[row]) {
    const uint saved = row_of_slot[entry];
    if (saved != kNone) cache[to] = undo[(ulong)saved * p.row_units + unit];
    else cache[to] = cache[p.base + (ulong)entry * p.row_units + unit];
  }
}

// undo: [channels, rows]; one thread for each channel and row
template <typename Unit>
inline void save_lane_unit(constant CopyParameters &p, device const Unit *cache, device Unit *undo,
                           device const uint *destinations, uint id) {
  if (id >= p.threads) return;
  const uint channel = p.first + id / p.rows, row = id % p.rows;
  undo[(ulong)channel * p.rows + row] = cache[p.base + (ulong)channel * p.capacity + destinations[row]];
}

// table: [heads, rows], then computed slices before each head [heads + 1]; scratch: per head [dim, its slices]
template <typename Unit>
inline void write_lane_unit(constant CopyParameters &p, device Unit *cache, device const Unit *scratch,
                            device const Unit *undo, device const uint *destinations, device const uint *table,
                            device const uint *row_of_slot, uint id) {
  if (id >= p.threads) return;
  const uint channel = p.first + id / p.rows, row = id % p.rows, head = channel / p.dim;
  const uint entry = table[(ulong)head * p.rows + row];
  const ulong lane = p.base + (ulong)channel * p.capacity, to = lane + destinations[row];
  if ((entry & kComputed) != 0u) {
    device const uint *begins = table + (ulong)p.heads * p.rows;
    const uint before = begins[head], count = begins[head + 1u] - before;
    cache[to] = scratch[(ulong)before * p.dim + (ulong)(channel % p.dim) * count + ((entry & ~kComputed) - before)];
  } else if (entry != destinations[row]) {
    const uint saved = row_of_slot[entry];
    if (saved != kNone) cache[to] = undo[(ulong)channel * p.rows + saved];
    else cache[to] = cache[lane + entry];
  }
}

// Slices of keys that turn: `starts`: the first byte of each after the base [slices]; undo and scratch: [slices, units].
// p.slice_units: of what is moved of a slice. One thread for each slice and unit
template <typename Unit>
inline void save_slice_unit(constant CopyParameters &p, device const Unit *cache, device Unit *undo,
                            device const ulong *starts, uint id) {
  if (id >= p.threads) return;
  const ulong at = p.base + starts[p.first + id / p.slice_units] / sizeof(Unit) + id % p.slice_units;
  undo[(ulong)p.first * p.slice_units + id] = cache[at];
}

template <typename Unit>
inline void write_slice_unit(constant CopyParameters &p, device Unit *cache, device const Unit *scratch,
                             device const ulong *starts, uint id) {
  if (id >= p.threads) return;
  const uint slice = p.first + id / p.slice_units, unit = id % p.slice_units;
  // scratch holds whole slices
  cache[p.base + starts[slice] / sizeof(Unit) + unit] = scratch[(ulong)slice * p.row_units + unit];
}

// The kernels of one unit.
#define KVFOLD_SAVE(name, Unit, part)                                                                                 \
  kernel void name(constant CopyParameters &p [[buffer(0)]], device const Unit *cache [[buffer(1)]],                  \
                   device Unit *undo [[buffer(2)]], device const uint *destinations [[buffer(3)]],                    \
                   uint id [[thread_position_in_grid]]) {                                                             \
    part<Unit>(p, cache, undo, destinations, id);                                                                     \
  }
#define KVFOLD_WRITE(name, Unit, part)                                                                                \
  kernel void name(constant CopyParameters &p [[buffer(0)]], device Unit *cache [[buffer(1)]],                        \
                   device const Unit *scratch [[buffer(2)]], device const Unit *undo [[buffer(3)]],                   \
                   device const uint *destinations [[buffer(4)]], device const uint *table [[buffer(5)]],             \
                   device const uint *row_of_slot [[buffer(6)]], uint id [[thread_position_in_grid]]) {               \
    part<Unit>(p, cache, scratch, undo, destinations, table, row_of_slot, id);                                        \
  }

#define KVFOLD_SLICES(save, write, Unit)                                                                              \
  kernel void save(constant CopyParameters &p [[buffer(0)]], device const Unit *cache [[buffer(1)]],                  \
                   device Unit *undo [[buffer(2)]], device const ulong *starts [[buffer(3)]],                         \
                   uint id [[thread_position_in_grid]]) {                                                             \
    save_slice_unit<Unit>(p, cache, undo, starts, id);                                                                \
  }                                                                                                                   \
  kernel void write(constant CopyParameters &p [[buffer(0)]], device Unit *cache [[buffer(1)]],                       \
                    device const Unit *scratch [[buffer(2)]], device const ulong *starts [[buffer(3)]],               \
                    uint id [[thread_position_in_grid]]) {                                                            \
    write_slice_unit<Unit>(p, cache, scratch, starts, id);                                                            \
  }

KVFOLD_SAVE(save_rows_16, uint4, save_row_unit)
KVFOLD_SAVE(save_rows_4, uint, save_row_unit)
KVFOLD_SAVE(save_rows_2, ushort, save_row_unit)
KVFOLD_SAVE(save_lanes_4, uint, save_lane_unit)
KVFOLD_SAVE(save_lanes_2, ushort, save_lane_unit)
KVFOLD_WRITE(write_rows_16, uint4, write_row_unit)
KVFOLD_WRITE(write_rows_4, uint, write_row_unit)
KVFOLD_WRITE(write_rows_2, ushort, write_row_unit)
KVFOLD_WRITE(write_lanes_4, uint, write_lane_unit)
KVFOLD_WRITE(write_lanes_2, ushort, write_lane_unit)

KVFOLD_SLICES(save_slices_16, write_slices_16, uint4)
KVFOLD_SLICES(save_slices_4, write_slices_4, uint)
KVFOLD_SLICES(save_slices_2, write_slices_2, ushort)

#undef KVFOLD_SAVE
#undef KVFOLD_WRITE
#undef KVFOLD_SLICES

// A fold as the kernels see it: plan, tensors, and what every slice is made of. Plain data with device pointers.
#ifndef KVFOLD_CUDA_TABLES_H
#define KVFOLD_CUDA_TABLES_H

#include "cuda/codec.h"

namespace kvfold {
namespace cuda {

/// A source of bytes: a slot of the cache, or with the high bit a row of the undo log. Cells are below 2^27.
constexpr uint32_t kFromLog = 0x80000000u;
/// Entries that are no source.
constexpr uint32_t kSkip = 0xffffffffu;    ///< the bytes are there already
constexpr uint32_t kSum = 0xfffffffeu;     ///< a weighted sum of members
constexpr uint32_t kTurn = 0xfffffffdu;    ///< the same, of turned keys
constexpr uint32_t kStored = 0xfffffffcu;  ///< a value that was given or solved for
constexpr uint32_t kNone = 0xffffffffu;    ///< no row, no stored slice

/// What all tensors of a fold share. `written`: the rows whose bytes may change, ascending.
struct PlanTable {
  uint32_t composite, target_frame, cells, rows, written_count, members_count, most_heads, plan_heads;
  const uint32_t *offsets;        ///< [rows + 1], shared plans
  const uint32_t *members;        ///< cells [members_count]
  const uint32_t *slots;          ///< [cells]
  const int32_t *cell_positions;  ///< [cells]
  const int32_t *row_positions;   ///< [rows]
  const uint32_t *destinations;   ///< [rows]
  const uint32_t *written;        ///< [written_count]
  const uint32_t *log_of_slot;    ///< [capacity]: index into `written` of the row that overwrites a slot, or kNone
  const uint2 *spans;             ///< [written_count]: members of a written row, shared plans
  const uint32_t *found;          ///< [members_count]: source of a member during the commit, shared plans
};

/// Keys or values of one layer; the undo log has the layout of the cache with `written_count` cells.
struct TensorTable {
  uint8_t *data;
  uint8_t *log;
  uint32_t *entries;             ///< [heads, written_count]: a source, or kSkip .. kStored
  const uint8_t *stored;         ///< slices of changed values, in row layout
  const uint32_t *stored_index;  ///< [heads, rows]: number of the stored slice, or kNone; NULL: no value is changed
  const float *weights;          ///< of the kind, by scope [groups, members]; NULL in composite plans
  const int32_t *sources;        ///< [heads, cells], or NULL: the positions of the cells
  const double *frequencies;     ///< [pairs]
  uint64_t capacity;
  uint64_t row_bytes;
  uint32_t slice_bytes, element_bytes, heads, dim;
  int32_t type;
  uint32_t transposed, hadamard;
  uint32_t pairing, pairs;  ///< of keys; 0 for values
  uint32_t scope, layer, keys;
  uint32_t grain;           ///< bytes of a copy: 16, 8, 4 or 2

  __device__ uint32_t entry(uint32_t head, uint32_t index, const PlanTable &plan) const {
    return entries[size_t{head} * plan.written_count + index];
  }
  /// The slice of a source in row layout.
  __device__ const uint8_t *slice(uint32_t source, uint32_t head) const {
    const uint8_t *base = (source & kFromLog) != 0 ? log : data;
    return base + (source & ~kFromLog) * row_bytes + size_t{head} * slice_bytes;
  }
  /// Element of a channel (head * dim + j) of a source in the transposed layout.
  __device__ const uint8_t *element(uint32_t source, uint32_t channel, const PlanTable &plan) const {
    if ((source & kFromLog) != 0)
      return log + (size_t{channel} * plan.written_count + (source & ~kFromLog)) * element_bytes;
    return data + (channel * capacity + source) * element_bytes;
  }
};

/// The widest copy that all addresses and lengths allow.
inline uint32_t grain_of(const TensorTable &tensor) {
  const uint64_t all = reinterpret_cast<uintptr_t>(tensor.data) | reinterpret_cast<uintptr_t>(tensor.log) |
                       tensor.row_bytes | tensor.slice_bytes | 16;
  return static_cast<uint32_t>(all & (~all + 1));
}

/// Where to find the bytes of a member: before the commit in its slot, during it in the log if they are overwritten.
__device__ inline uint32_t source_of(const PlanTable &plan, uint32_t member, bool committing) {
  return committing ? plan.found[member] : plan.slots[plan.members[member]];
}

__device__ inline float weight_in(const TensorTable &tensor, const PlanTable &plan, uint32_t head, uint32_t member) {
  size_t group = 0;
  if (tensor.scope == KVFOLD_SCOPE_LAYER) group = tensor.layer;
  if (tensor.scope == KVFOLD_SCOPE_HEAD) group = size_t{tensor.layer} * plan.most_heads + head;
  return tensor.weights[group * plan.members_count + member];
}

/// By how many positions the key of a cell turns for a row.
__device__ inline int64_t turn_of_key(const TensorTable &tensor, const PlanTable &plan, uint32_t row, uint32_t head,
                                      uint32_t cell) {
  if (tensor.keys == 0 || plan.target_frame == 0 || tensor.pairs == 0) return 0;
  const int32_t source =
      tensor.sources != nullptr ? tensor.sources[size_t{head} * plan.cells + cell] : plan.cell_positions[cell];
  return static_cast<int64_t>(plan.row_positions[row]) - source;
}

/// What a slice is made of: kSum, kTurn, or with kSkip the cell that is copied.
struct Made {
  uint32_t kind, cell;
};

/// A slice is a copy when one member has weight 1, all others 0, and its key stays where it was rotated.
__device__ inline Made classify(const TensorTable &tensor, const PlanTable &plan, uint32_t row, uint32_t head) {
  if (plan.composite != 0)
    return {kSkip, plan.members[(size_t{tensor.layer} * plan.plan_heads + head) * plan.rows + row]};
  uint32_t terms = 0, cell = 0;
  bool plain = true, turned = false;
  for (uint32_t m = plan.offsets[row]; m < plan.offsets[row + 1]; m++) {
    const float weight = weight_in(tensor, plan, head, m);
    if (weight == 0.0f) continue;
    cell = plan.members[m];
    turned = turned || turn_of_key(tensor, plan, row, head, cell) != 0;
    plain = plain && weight == 1.0f;
    terms++;
  }
  if (terms == 1 && plain && !turned) return {kSkip, cell};
  return {turned ? kTurn : kSum, 0};
}

}  // namespace cuda
}  // namespace kvfold

#endif

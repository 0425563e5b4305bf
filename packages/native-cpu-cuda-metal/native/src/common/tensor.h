// Geometry of one K or V buffer: where the slice of a cell and a head lies, and how many bytes it has.
#ifndef KVFOLD_COMMON_TENSOR_H
#define KVFOLD_COMMON_TENSOR_H

#include <cstddef>
#include <cstdint>

#include "kvfold/fold.h"

#if defined(__CUDACC__)
#define KVFOLD_DEVICE __host__ __device__
#else
#define KVFOLD_DEVICE
#endif

namespace kvfold {

constexpr uint32_t kBlockChannels = 32;  // of every block type

/// Bytes of a block and the channels in it (1 for float types); bytes 0: unknown type.
struct TypeSize {
  uint32_t bytes;
  uint32_t channels;
};

KVFOLD_DEVICE inline TypeSize type_size(int32_t type) {
  switch (type) {
    case KVFOLD_F32: return {4, 1};
    case KVFOLD_F16: return {2, 1};
    case KVFOLD_BF16: return {2, 1};
    case KVFOLD_Q4_0: return {18, kBlockChannels};  // f16 d, 16 bytes of nibbles
    case KVFOLD_Q4_1: return {20, kBlockChannels};  // f16 d, f16 m, nibbles
    case KVFOLD_Q5_0: return {22, kBlockChannels};  // f16 d, 4 bytes of fifth bits, nibbles
    case KVFOLD_Q5_1: return {24, kBlockChannels};  // f16 d, f16 m, fifth bits, nibbles
    case KVFOLD_Q8_0: return {34, kBlockChannels};  // f16 d, 32 signed bytes
    default: return {0, 1};
  }
}

KVFOLD_DEVICE inline bool is_block_type(int32_t type) { return type_size(type).channels > 1; }

/// Keys or values of one layer. Row layout: cell after cell, the heads of a cell together. Transposed: channel after
/// channel, `capacity` elements each. A slice is what one head of one cell stores.
///
///     rows        c0h0 c0h1 c1h0 c1h1 ...        transposed   ch0: c0 c1 c2 ...  ch1: c0 c1 c2 ...
struct Tensor {
  uint8_t *data;
  uint32_t heads;
  uint32_t dim;
  int32_t type;
  bool transposed;
  uint32_t hadamard;
  size_t capacity;
  size_t element_bytes;  // of a block, or of an element
  size_t slice_bytes;
  size_t row_bytes;

  uint8_t *slice(size_t slot, size_t head) const { return data + slot * row_bytes + head * slice_bytes; }
  /// First element of a channel (0 .. heads * dim) of a transposed tensor.
  uint8_t *channel(size_t index) const { return data + index * capacity * element_bytes; }
};

inline Tensor tensor_of(const kvfold_memory &memory, uint32_t layer_index, uint32_t kind) {
  const kvfold_memory_layer &layer = memory.layers[layer_index];
  const bool keys = kind == KVFOLD_KEYS;
  Tensor tensor{};
  tensor.data = static_cast<uint8_t *>(keys ? layer.keys : layer.values);
  tensor.heads = layer.kv_heads;
  tensor.dim = keys ? layer.key_dim : layer.value_dim;
  tensor.type = keys ? layer.key_type : layer.value_type;
  tensor.transposed = !keys && layer.value_transposed != 0;
  tensor.hadamard = keys ? layer.hadamard_key : layer.hadamard_value;
  tensor.capacity = memory.capacity;
  const TypeSize size = type_size(tensor.type);
  tensor.element_bytes = size.bytes;
  tensor.slice_bytes = static_cast<size_t>(tensor.dim) / size.channels * size.bytes;
  tensor.row_bytes = tensor.slice_bytes * tensor.heads;
  return tensor;
}

/// The position with which the key of (head, cell) was rotated.
inline int32_t source_position(const kvfold_target &target, uint32_t layer, size_t head, size_t cell) {
  if (target.sources == nullptr || target.sources[layer].length == 0) return target.positions.data[cell];
  return target.sources[layer].data[head * target.cells + cell];
}

/// The weight of member m (an index into plan.members) in a layer and head.
inline float weight_of(const kvfold_weights &weights, size_t members, size_t max_heads, size_t layer, size_t head,
                       size_t m) {
  switch (weights.scope) {
    case KVFOLD_SCOPE_LAYER: return weights.data.data[layer * members + m];
    case KVFOLD_SCOPE_HEAD: return weights.data.data[(layer * max_heads + head) * members + m];
    default: return weights.data.data[m];
  }
}

inline uint32_t most_heads(const kvfold_memory &memory) {
  uint32_t most = 0;
  for (uint32_t l = 0; l < memory.layer_count; l++) {
    if (memory.layers[l].kv_heads > most) most = memory.layers[l].kv_heads;
  }
  return most;
}

}  // namespace kvfold

#endif

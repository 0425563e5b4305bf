// Which part of a key a rope shift turns, and by how much.
#ifndef KVFOLD_COMMON_TURNED_H
#define KVFOLD_COMMON_TURNED_H

#include "common/tensor.h"
#include "kvfold/fold.h"

namespace kvfold {

/// Channels at the start of a key slice that a rotation changes: all under a Hadamard rotation, else the rotated ones
/// in whole blocks, else none.
inline size_t turned_channels(const kvfold_memory_layer &layer) {
  if (layer.rope_pairing == KVFOLD_ROPE_NONE) return 0;
  if (layer.hadamard_key > 1) return layer.key_dim;
  const size_t block = type_size(layer.key_type).channels;
  return (layer.rope_dims + block - 1) / block * block;
}

inline int32_t delta_of(const kvfold_rope &rope, uint32_t layer, size_t head, size_t cell) {
  if (rope.layer_deltas == nullptr || rope.layer_deltas[layer].length == 0) return rope.deltas.data[cell];
  return rope.layer_deltas[layer].data[head * rope.slots.length + cell];
}

}  // namespace kvfold

#endif

// A rope shift as its definition reads: every key into scratch, turned in double; commit and rollback are the fold's.
#include <new>

#include "common/error.h"
#include "common/location.h"
#include "common/turned.h"
#include "reference/convert.h"
#include "reference/fold.h"
#include "reference/image.h"
#include "reference/rows.h"

namespace kvfold {
namespace reference {
namespace {

void turn_slice(const kvfold_memory_layer &layer, const Tensor &keys, double delta, uint8_t *slice) {
  std::vector<double> key = decode(keys, slice);
  hadamard(keys.hadamard, &key);
  rotate(layer, delta, &key);
  hadamard(keys.hadamard, &key);
  put(keys.type, key.data(), turned_channels(layer), slice);
}

kvfold_status prepare(const kvfold_rope &rope, const kvfold_options *options, Fold *fold, kvfold_error *error) {
  if (kvfold_status status = require_location(*rope.memory, KVFOLD_LOCATION_HOST, "reference", error)) return status;
  fold->memory = rope.memory;
  fold->destinations.assign(rope.slots.data, rope.slots.data + rope.slots.length);
  fold->images.resize(size_t{2} * rope.memory->layer_count);
  for (uint32_t l = 0; l < rope.memory->layer_count; l++) {
    if (cancelled(options)) return fail_aborted(error);
    if (fault_here(options)) return fail_fault(options, error, "before the keys of a layer were turned");
    const kvfold_memory_layer &layer = rope.memory->layers[l];
    if (layer.rope_pairing == KVFOLD_ROPE_NONE) continue;
    const Tensor keys = tensor_of(*rope.memory, l, KVFOLD_KEYS);
    Image &image = fold->images[2 * l];
    image.fresh.resize(rope.slots.length * keys.row_bytes);
    image.saved.resize(image.fresh.size());
    for (size_t cell = 0; cell < rope.slots.length; cell++) {
      for (size_t head = 0; head < keys.heads; head++) {
        uint8_t *slice = image.fresh.data() + cell * keys.row_bytes + head * keys.slice_bytes;
        const int32_t delta = delta_of(rope, l, head, cell);
        load_slice(keys, rope.slots.data[cell], head, slice);
        if (delta != 0) turn_slice(layer, keys, delta, slice);
      }
    }
  }
  return cancelled(options) ? fail_aborted(error) : KVFOLD_OK;
}

}  // namespace

kvfold_status rope_prepare(const kvfold_rope *rope, const kvfold_options *options, kvfold_fold **out,
                           kvfold_error *error) {
  *out = nullptr;
  Fold *fold = nullptr;
  kvfold_status status = KVFOLD_OK;
  try {
    fold = new Fold();
    status = prepare(*rope, options, fold, error);
  } catch (...) {
    status = fail_memory(error, "the turned keys");
  }
  if (status == KVFOLD_OK) *out = reinterpret_cast<kvfold_fold *>(fold);
  else delete fold;
  return status;
}

}  // namespace reference
}  // namespace kvfold

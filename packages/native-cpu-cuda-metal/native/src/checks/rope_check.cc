// What a rope shift must look like before a pointer of it is used.
#include <vector>

#include "checks/span_check.h"
#include "common/error.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace {

unsigned long long wide(uint64_t value) { return value; }

kvfold_status check_slots(const kvfold_rope &rope, kvfold_error *error) {
  const uint32_t capacity = rope.memory->capacity;
  if (rope.slots.length > capacity)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%llu slots in a cache with room for %u", wide(rope.slots.length),
                capacity);
  if (is_missing(rope.slots)) return fail_missing(error, "slots");
  std::vector<bool> seen(capacity, false);
  for (uint64_t c = 0; c < rope.slots.length; c++) {
    const uint32_t slot = rope.slots.data[c];
    if (slot >= capacity)
      return fail(error, KVFOLD_STATUS_ARGUMENT, "slot %u of cell %llu lies outside the %u cells of the cache", slot,
                  wide(c), capacity);
    if (seen[slot])
      return fail(error, KVFOLD_STATUS_ARGUMENT, "slot %u of cell %llu is taken by another cell", slot, wide(c));
    seen[slot] = true;
  }
  return KVFOLD_OK;
}

kvfold_status check_deltas(const kvfold_rope &rope, kvfold_error *error) {
  const uint64_t cells = rope.slots.length;
  if (rope.deltas.length != 0 && rope.deltas.length != cells)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%llu deltas for %llu cells", wide(rope.deltas.length), wide(cells));
  if (is_missing(rope.deltas)) return fail_missing(error, "deltas");
  for (uint32_t l = 0; l < rope.memory->layer_count; l++) {
    const kvfold_memory_layer &layer = rope.memory->layers[l];
    const kvfold_i32_span own = rope.layer_deltas == nullptr ? kvfold_i32_span{nullptr, 0} : rope.layer_deltas[l];
    const uint64_t needed = uint64_t{layer.kv_heads} * cells;
    if (own.length != 0 && own.length != needed)
      return fail(error, KVFOLD_STATUS_ARGUMENT, "deltas of layer %u have %llu entries, %llu are needed", l,
                  wide(own.length), wide(needed));
    if (is_missing(own)) return fail_missing(error, "deltas of a layer");
    if (own.length == 0 && rope.deltas.length != cells && layer.rope_pairing != KVFOLD_ROPE_NONE)
      return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u has no deltas", l);
  }
  return KVFOLD_OK;
}

}  // namespace
}  // namespace kvfold

using namespace kvfold;

extern "C" kvfold_status kvfold_check_rope(const kvfold_rope *rope, kvfold_error *error) {
  if (rope == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no rope shift given");
  if (kvfold_status status = kvfold_check_memory(rope->memory, error)) return status;
  try {
    if (kvfold_status status = check_slots(*rope, error)) return status;
  } catch (...) {
    return fail_memory(error, "the check of the slots");
  }
  return check_deltas(*rope, error);
}

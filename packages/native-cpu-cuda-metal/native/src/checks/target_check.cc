// Slots, positions, sources and destinations of a fold: lengths, ranges, no cell twice.
#include <vector>

#include "checks/span_check.h"
#include "common/error.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace {

unsigned long long wide(uint64_t value) { return value; }

kvfold_status check_slots(const kvfold_target &target, kvfold_error *error) {
  const uint32_t capacity = target.memory->capacity;
  std::vector<bool> seen(capacity, false);
  for (uint32_t c = 0; c < target.cells; c++) {
    const uint32_t slot = target.slots.data[c];
    if (slot >= capacity)
      return fail(error, KVFOLD_STATUS_ARGUMENT, "slot %u of cell %u lies outside the %u cells of the cache", slot, c,
                  capacity);
    if (seen[slot]) return fail(error, KVFOLD_STATUS_ARGUMENT, "slot %u of cell %u is taken by another cell", slot, c);
    seen[slot] = true;
  }
  return KVFOLD_OK;
}

kvfold_status check_sources(const kvfold_target &target, kvfold_error *error) {
  if (target.sources == nullptr) return KVFOLD_OK;
  for (uint32_t l = 0; l < target.memory->layer_count; l++) {
    const uint64_t length = target.sources[l].length;
    const uint64_t needed = static_cast<uint64_t>(target.memory->layers[l].kv_heads) * target.cells;
    if (is_missing(target.sources[l])) return fail_missing(error, "sources of a layer");
    if (length != 0 && length != needed)
      return fail(error, KVFOLD_STATUS_ARGUMENT, "sources of layer %u have %llu entries, %llu are needed", l,
                  wide(length), wide(needed));
  }
  return KVFOLD_OK;
}

kvfold_status check_destinations(const kvfold_target &target, kvfold_error *error) {
  const uint32_t capacity = target.memory->capacity;
  for (uint64_t i = 0; i < target.destinations.length; i++) {
    const uint32_t slot = target.destinations.data[i];
    if (slot >= capacity)
      return fail(error, KVFOLD_STATUS_ARGUMENT, "destination %llu is cell %u of %u", wide(i), slot, capacity);
    if (i > 0 && slot <= target.destinations.data[i - 1])
      return fail(error, KVFOLD_STATUS_ARGUMENT, "destination %llu does not follow the one before", wide(i));
  }
  return KVFOLD_OK;
}

}  // namespace
}  // namespace kvfold

using namespace kvfold;

extern "C" kvfold_status kvfold_check_target(const kvfold_target *target, kvfold_error *error) {
  if (target == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no target given");
  if (kvfold_status status = kvfold_check_memory(target->memory, error)) return status;
  if (target->cells == 0 || target->cells > target->memory->capacity)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%u cells in a cache with room for %u", target->cells,
                target->memory->capacity);
  if (target->slots.length != target->cells || target->positions.length != target->cells)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%u cells, but %llu slots and %llu positions", target->cells,
                wide(target->slots.length), wide(target->positions.length));
  if (is_missing(target->slots) || is_missing(target->positions)) return fail_missing(error, "slots or positions");
  if (is_missing(target->destinations)) return fail_missing(error, "destinations");
  if (is_missing(target->bias)) return fail_missing(error, "bias");
  try {
    if (kvfold_status status = check_slots(*target, error)) return status;
  } catch (...) {
    return fail_memory(error, "the check of the slots");
  }
  if (kvfold_status status = check_sources(*target, error)) return status;
  return check_destinations(*target, error);
}

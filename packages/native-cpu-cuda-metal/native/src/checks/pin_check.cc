// Pins: `absorb` stays in a row, `key` keeps its key as it is, `exact` keeps key and value and absorbs nothing.
#include "checks/pin_check.h"

#include <vector>

#include "common/error.h"
#include "common/tensor.h"

namespace kvfold {
namespace {

constexpr uint32_t kAbsent = 0xffffffffu;

/// True when, in every layer and head, the weight of `own` is 1 and that of the other members of its row is 0.
bool one_hot(const kvfold_target &target, const kvfold_plan &plan, const kvfold_weights &weights, uint32_t row,
             uint32_t own) {
  const size_t heads = most_heads(*target.memory);
  const size_t layers = weights.scope == KVFOLD_SCOPE_ALL ? 1 : target.memory->layer_count;
  const size_t scopes = weights.scope == KVFOLD_SCOPE_HEAD ? heads : 1;
  for (size_t l = 0; l < layers; l++) {
    for (size_t h = 0; h < scopes; h++) {
      for (uint32_t m = plan.offsets.data[row]; m < plan.offsets.data[row + 1]; m++) {
        if (weight_of(weights, plan.members.length, heads, l, h, m) != (m == own ? 1.0f : 0.0f)) return false;
      }
    }
  }
  return true;
}

/// True when a row in the frame `target` leaves the key of its member where it was rotated.
bool unrotated(const kvfold_target &target, const kvfold_plan &plan, uint32_t row, uint32_t cell) {
  if (plan.key_frame == KVFOLD_FRAME_STORED) return true;
  for (uint32_t l = 0; l < target.memory->layer_count; l++) {
    const kvfold_memory_layer &layer = target.memory->layers[l];
    if (layer.rope_pairing == KVFOLD_ROPE_NONE) continue;
    for (uint32_t h = 0; h < layer.kv_heads; h++) {
      if (source_position(target, l, h, cell) != plan.positions.data[row]) return false;
    }
  }
  return true;
}

kvfold_status check_shared_pins(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  std::vector<uint32_t> row_of(plan.cells, kAbsent), member_of(plan.cells, kAbsent);
  for (uint32_t r = 0; r < plan.rows; r++) {
    for (uint32_t m = plan.offsets.data[r]; m < plan.offsets.data[r + 1]; m++) {
      row_of[plan.members.data[m]] = r;
      member_of[plan.members.data[m]] = m;
    }
  }
  for (uint32_t cell = 0; cell < plan.cells; cell++) {
    const uint8_t level = plan.pins.data[cell];
    if (level == KVFOLD_PIN_NONE) continue;
    const uint32_t row = row_of[cell], own = member_of[cell];
    if (row == kAbsent) return fail(error, KVFOLD_STATUS_PLAN_PIN, "the pinned cell %u was dropped", cell);
    if (level == KVFOLD_PIN_ABSORB) continue;
    if (!one_hot(target, plan, plan.key_weights, row, own) || !unrotated(target, plan, row, cell))
      return fail(error, KVFOLD_STATUS_PLAN_PIN, "row %u changes the key of the pinned cell %u", row, cell);
    if (level == KVFOLD_PIN_KEY) continue;
    if (plan.offsets.data[row + 1] - plan.offsets.data[row] != 1 ||
        !one_hot(target, plan, plan.value_weights, row, own))
      return fail(error, KVFOLD_STATUS_PLAN_PIN, "row %u changes the value of the exactly pinned cell %u", row, cell);
  }
  return KVFOLD_OK;
}

/// `absorb`: in some row of every layer and head; `key` and `exact`: in the same row of all.
kvfold_status check_composite_pins(const kvfold_plan &plan, kvfold_error *error) {
  const uint64_t heads = static_cast<uint64_t>(plan.layers) * plan.kv_heads;
  std::vector<uint32_t> row_of(plan.cells, kAbsent), seen(plan.cells, 0);
  for (uint64_t m = 0; m < plan.members.length; m++) {
    const uint32_t cell = plan.members.data[m], row = static_cast<uint32_t>(m % plan.rows);
    if (plan.pins.data[cell] == KVFOLD_PIN_NONE) continue;
    if (seen[cell]++ == 0) row_of[cell] = row;
    else if (plan.pins.data[cell] >= KVFOLD_PIN_KEY && row_of[cell] != row)
      return fail(error, KVFOLD_STATUS_PLAN_PIN, "heads have the pinned cell %u in rows %u and %u", cell, row_of[cell],
                  row);
  }
  for (uint32_t cell = 0; cell < plan.cells; cell++) {
    if (plan.pins.data[cell] != KVFOLD_PIN_NONE && seen[cell] != heads)
      return fail(error, KVFOLD_STATUS_PLAN_PIN, "only %u of %llu heads have the pinned cell %u", seen[cell],
                  static_cast<unsigned long long>(heads), cell);
  }
  return KVFOLD_OK;
}

}  // namespace

kvfold_status check_pins(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  if (plan.pins.length == 0) return KVFOLD_OK;
  for (uint32_t cell = 0; cell < plan.cells; cell++) {
    if (plan.pins.data[cell] > KVFOLD_PIN_EXACT)
      return fail(error, KVFOLD_STATUS_PLAN_PIN, "cell %u has the unknown pin level %u", cell, plan.pins.data[cell]);
  }
  return plan.layout == KVFOLD_SHARED ? check_shared_pins(target, plan, error) : check_composite_pins(plan, error);
}

}  // namespace kvfold

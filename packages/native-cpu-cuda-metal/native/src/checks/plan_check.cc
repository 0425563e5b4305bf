// The rules of a plan, the same as in @kvfold/core and in the same order, once more at the border. What needs counts
// and bias of the old cells, which a target need not carry, is checked there alone; here their necessary part.
#include <cmath>
#include <vector>

#include "checks/pin_check.h"
#include "checks/span_check.h"
#include "checks/value_check.h"
#include "common/error.h"
#include "common/tensor.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace {

unsigned long long wide(uint64_t value) { return value; }

kvfold_status check_length(uint64_t length, uint64_t needed, const char *name, kvfold_error *error) {
  if (length == needed) return KVFOLD_OK;
  return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "%s has %llu entries, %llu are needed", name, wide(length),
              wide(needed));
}

/// Arrays that have a length and no address.
kvfold_status check_arrays(const kvfold_plan &plan, kvfold_error *error) {
  const bool shared = plan.layout == KVFOLD_SHARED;
  const bool missing =
      is_missing(plan.positions) || is_missing(plan.counts) || is_missing(plan.bias) || is_missing(plan.pins) ||
      is_missing(plan.members) || (shared && is_missing(plan.offsets)) ||
      (shared && (is_missing(plan.key_weights.data) || is_missing(plan.value_weights.data))) ||
      (plan.fit != nullptr && is_missing(plan.fit->free)) ||
      (plan.values != nullptr && (is_missing(plan.values->given) || is_missing(plan.values->data)));
  if (missing) return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "an array of the plan has a length and no address");
  return KVFOLD_OK;
}

kvfold_status check_rows(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  if (plan.layout > KVFOLD_COMPOSITE)
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "layout %u is neither shared nor composite", plan.layout);
  if (plan.cells != target.cells)
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "the plan was made for %u cells, the cache has %u", plan.cells,
                target.cells);
  if (plan.rows == 0 || plan.rows > plan.cells)
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "%u rows from %u cells", plan.rows, plan.cells);
  if (kvfold_status status = check_length(plan.positions.length, plan.rows, "positions", error)) return status;
  if (kvfold_status status = check_length(plan.counts.length, plan.rows, "counts", error)) return status;
  if (plan.bias.length != 0) {
    if (kvfold_status status = check_length(plan.bias.length, plan.rows, "bias", error)) return status;
  }
  if (plan.pins.length != 0) {
    if (kvfold_status status = check_length(plan.pins.length, plan.cells, "pins", error)) return status;
  }
  return KVFOLD_OK;
}

kvfold_status check_order(const kvfold_plan &plan, kvfold_error *error) {
  for (uint32_t r = 0; r < plan.rows; r++) {
    const int32_t position = plan.positions.data[r];
    if (position < 0) return fail(error, KVFOLD_STATUS_PLAN_ORDER, "row %u has the position %d", r, position);
    if (r > 0 && position < plan.positions.data[r - 1])
      return fail(error, KVFOLD_STATUS_PLAN_ORDER, "row %u at position %d follows position %d", r, position,
                  plan.positions.data[r - 1]);
  }
  if (plan.positions.data[plan.rows - 1] == INT32_MAX)
    return fail(error, KVFOLD_STATUS_PLAN_ORDER, "no position is left for the next token");
  return KVFOLD_OK;
}

/// Every old cell holds at least one token, so there are at least as many tokens as cells.
kvfold_status check_counts(const kvfold_plan &plan, kvfold_error *error) {
  uint64_t tokens = plan.dropped;
  for (uint32_t r = 0; r < plan.rows; r++) {
    const uint32_t count = plan.counts.data[r];
    if (count == 0) return fail(error, KVFOLD_STATUS_PLAN_COUNTS, "row %u counts no token", r);
    if (tokens > UINT64_MAX - count)
      return fail(error, KVFOLD_STATUS_PLAN_COUNTS, "the counts do not fit 64 bits at row %u", r);
    tokens += count;
  }
  if (tokens < plan.cells)
    return fail(error, KVFOLD_STATUS_PLAN_COUNTS, "counts and dropped are %llu tokens, but there are %u cells",
                wide(tokens), plan.cells);
  return KVFOLD_OK;
}

kvfold_status check_bias(const kvfold_plan &plan, kvfold_error *error) {
  for (uint64_t r = 0; r < plan.bias.length; r++) {
    const float bias = plan.bias.data[r];
    if (!(std::fabs(bias) < KVFOLD_MAX_BIAS))
      return fail(error, KVFOLD_STATUS_PLAN_BIAS, "row %llu has the bias %g, allowed is less than %g in magnitude",
                  wide(r), static_cast<double>(bias), static_cast<double>(KVFOLD_MAX_BIAS));
  }
  return KVFOLD_OK;
}

kvfold_status check_weights_length(const kvfold_target &target, const kvfold_plan &plan, const kvfold_weights &weights,
                                   const char *name, kvfold_error *error) {
  uint64_t needed = plan.members.length;
  if (weights.scope > KVFOLD_SCOPE_HEAD)
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "%s have the unknown scope %u", name, weights.scope);
  // at most 2^12 layers, 2^12 heads and 2^27 members: fits 64 bits
  if (weights.scope >= KVFOLD_SCOPE_LAYER) needed *= target.memory->layer_count;
  if (weights.scope == KVFOLD_SCOPE_HEAD) needed *= most_heads(*target.memory);
  return check_length(weights.data.length, needed, name, error);
}

kvfold_status check_weights(const kvfold_weights &weights, const char *name, kvfold_error *error) {
  for (uint64_t i = 0; i < weights.data.length; i++) {
    if (!std::isfinite(weights.data.data[i]))
      return fail(error, KVFOLD_STATUS_PLAN_WEIGHT, "%s: entry %llu is not finite", name, wide(i));
  }
  return KVFOLD_OK;
}

kvfold_status check_shared_shape(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  const uint64_t members = plan.members.length;
  if (members > plan.cells)
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "%llu members from %u cells", wide(members), plan.cells);
  if (plan.key_frame > KVFOLD_FRAME_TARGET)
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "key frame %u is neither stored nor target", plan.key_frame);
  const uint64_t offset_count = plan.rows + uint64_t{1};
  if (kvfold_status status = check_length(plan.offsets.length, offset_count, "offsets", error)) return status;
  if (kvfold_status status = check_weights_length(target, plan, plan.key_weights, "key weights", error)) return status;
  if (kvfold_status status = check_weights_length(target, plan, plan.value_weights, "value weights", error))
    return status;
  const uint32_t *offsets = plan.offsets.data;
  if (offsets[0] != 0 || offsets[plan.rows] != members)
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "offsets run from %u to %u, 0 to %llu is needed", offsets[0],
                offsets[plan.rows], wide(members));
  for (uint32_t r = 0; r < plan.rows; r++) {
    if (offsets[r + 1] <= offsets[r]) return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "row %u has no members", r);
  }
  return KVFOLD_OK;
}

kvfold_status check_composite_shape(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  const kvfold_memory &memory = *target.memory;
  if (plan.layers != memory.layer_count || plan.kv_heads != most_heads(memory))
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "the plan is for %u layers of %u heads, the cache has %u of %u",
                plan.layers, plan.kv_heads, memory.layer_count, most_heads(memory));
  return check_length(plan.members.length, static_cast<uint64_t>(plan.layers) * plan.kv_heads * plan.rows, "members",
                      error);
}

/// In range, and used once: in the whole plan, or in every head of a composite plan.
kvfold_status check_members(const kvfold_plan &plan, kvfold_error *error) {
  const uint32_t *members = plan.members.data;
  const uint64_t stretch = plan.layout == KVFOLD_SHARED ? plan.members.length : plan.rows;
  for (uint64_t m = 0; m < plan.members.length; m++) {
    if (members[m] >= plan.cells)
      return fail(error, KVFOLD_STATUS_PLAN_MEMBER_RANGE, "member %llu is cell %u of %u", wide(m), members[m],
                  plan.cells);
  }
  std::vector<uint32_t> seen(plan.cells, 0);  // the last stretch, from 1, that took the cell
  for (uint64_t m = 0; m < plan.members.length; m++) {
    const uint32_t stamp = static_cast<uint32_t>(m / stretch + 1);  // at most 2^24 heads
    if (seen[members[m]] == stamp)
      return plan.layout == KVFOLD_SHARED
                 ? fail(error, KVFOLD_STATUS_PLAN_NOT_DISJOINT, "cell %u is a member twice", members[m])
                 : fail(error, KVFOLD_STATUS_PLAN_NOT_DISJOINT, "layer %llu head %llu takes cell %u twice",
                        wide(m / stretch / plan.kv_heads), wide(m / stretch % plan.kv_heads), members[m]);
    seen[members[m]] = stamp;
  }
  return KVFOLD_OK;
}

/// Heads that a layer lacks repeat its head 0, so that equal plans have equal bytes.
kvfold_status check_padding(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  for (uint32_t l = 0; l < plan.layers; l++) {
    const uint32_t *first = plan.members.data + static_cast<size_t>(l) * plan.kv_heads * plan.rows;
    for (uint32_t h = target.memory->layers[l].kv_heads; h < plan.kv_heads; h++) {
      for (uint32_t r = 0; r < plan.rows; r++) {
        if (first[static_cast<size_t>(h) * plan.rows + r] != first[r])
          return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "layer %u has %u heads; the others must repeat head 0", l,
                      target.memory->layers[l].kv_heads);
      }
    }
  }
  return KVFOLD_OK;
}

kvfold_status check_all(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  const bool shared = plan.layout == KVFOLD_SHARED;
  if (kvfold_status status = check_arrays(plan, error)) return status;
  if (kvfold_status status = check_rows(target, plan, error)) return status;
  if (kvfold_status status = shared ? check_shared_shape(target, plan, error)
                                    : check_composite_shape(target, plan, error))
    return status;
  if (kvfold_status status = check_members(plan, error)) return status;
  if (kvfold_status status = check_order(plan, error)) return status;
  if (shared) {
    if (kvfold_status status = check_weights(plan.key_weights, "key weights", error)) return status;
    if (kvfold_status status = check_weights(plan.value_weights, "value weights", error)) return status;
  }
  if (kvfold_status status = check_bias(plan, error)) return status;
  if (!shared) {
    if (kvfold_status status = check_padding(target, plan, error)) return status;
  }
  if (kvfold_status status = check_counts(plan, error)) return status;
  if (kvfold_status status = check_fit_and_values(target, plan, error)) return status;
  if (kvfold_status status = check_pins(target, plan, error)) return status;
  if (kvfold_status status = check_exact_values(target, plan, error)) return status;
  if (target.destinations.length != plan.rows)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%llu destinations for %u rows", wide(target.destinations.length),
                plan.rows);
  return KVFOLD_OK;
}

}  // namespace
}  // namespace kvfold

using namespace kvfold;

extern "C" kvfold_status kvfold_check_plan(const kvfold_target *target, const kvfold_plan *plan, kvfold_error *error) {
  if (target == nullptr || plan == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no target or no plan given");
  try {
    return check_all(*target, *plan, error);
  } catch (...) {
    return fail_memory(error, "the check of the plan");
  }
}

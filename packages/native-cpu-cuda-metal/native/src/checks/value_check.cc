// Rules on values that a plan has solved (fit) or gives itself (values).
#include "checks/value_check.h"

#include <algorithm>
#include <cmath>

#include "attention.h"
#include "common/error.h"
#include "common/queries.h"
#include "common/tensor.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace {

unsigned long long wide(uint64_t value) { return value; }

kvfold_status check_mask(const kvfold_target &target, const kvfold_plan &plan, const kvfold_u8_span &mask,
                         const char *name, uint8_t most, kvfold_error *error) {
  // at most 2^12 layers, 2^12 heads and 2^27 rows
  const uint64_t needed = uint64_t{target.memory->layer_count} * most_heads(*target.memory) * plan.rows;
  if (mask.length != needed)
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "%s has %llu entries, %llu are needed", name, wide(mask.length),
                wide(needed));
  for (uint64_t i = 0; i < mask.length; i++) {
    if (mask.data[i] > most)
      return fail(error, KVFOLD_STATUS_PLAN_FIT, "%s: entry %llu is %u, must be 0 to %u", name, wide(i), mask.data[i],
                  most);
  }
  for (uint32_t l = 0; l < target.memory->layer_count; l++) {
    for (uint32_t h = target.memory->layers[l].kv_heads; h < most_heads(*target.memory); h++) {
      if (marked_rows(mask, target, plan, l, h) != 0)
        return fail(error, KVFOLD_STATUS_PLAN_FIT, "%s: layer %u has no head %u, its entries must be 0", name, l, h);
    }
  }
  return KVFOLD_OK;
}

kvfold_status check_values(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  const kvfold_dense_values &values = *plan.values;
  if (kvfold_status status = check_mask(target, plan, values.given, "given", 1, error)) return status;
  uint64_t needed = 0;  // at most 2^51 rows of 2^13
  for (uint32_t l = 0; l < target.memory->layer_count; l++) {
    const kvfold_memory_layer &layer = target.memory->layers[l];
    for (uint32_t h = 0; h < layer.kv_heads; h++)
      needed += marked_rows(values.given, target, plan, l, h) * uint64_t{layer.value_dim};
  }
  if (values.data.length != needed)
    return fail(error, KVFOLD_STATUS_PLAN_SHAPE, "the given values have %llu numbers, %llu are needed",
                wide(values.data.length), wide(needed));
  for (uint64_t i = 0; i < values.data.length; i++) {
    if (!std::isfinite(values.data.data[i]))
      return fail(error, KVFOLD_STATUS_PLAN_FIT, "given value %llu is not finite", wide(i));
  }
  return KVFOLD_OK;
}

kvfold_status check_outputs(const kvfold_target &target, uint32_t index, uint32_t rows, kvfold_error *error) {
  if (target.outputs == nullptr || target.outputs[index].length == 0) return KVFOLD_OK;
  const kvfold_memory_layer &layer = target.memory->layers[index];
  const uint64_t needed = uint64_t{layer.kv_heads} * rows * layer.value_dim;
  if (target.outputs[index].length == needed) return KVFOLD_OK;
  return fail(error, KVFOLD_STATUS_ARGUMENT, "outputs of layer %u have %llu numbers, %u rows need %llu", index,
              wide(target.outputs[index].length), rows, wide(needed));
}

/// A layer with something to solve has queries, and enough of them: at least four that fit for each free row.
kvfold_status check_layer_fit(const kvfold_target &target, const kvfold_plan &plan, uint32_t index,
                              kvfold_error *error) {
  const kvfold_memory_layer &layer = target.memory->layers[index];
  uint64_t most = 0;
  for (uint32_t h = 0; h < layer.kv_heads; h++)
    most = std::max<uint64_t>(most, marked_rows(plan.fit->free, target, plan, index, h));
  if (most == 0) return KVFOLD_OK;
  if (target.queries->layers[index].heads == 0)
    return fail(error, KVFOLD_STATUS_PLAN_FIT, "layer %u has free rows, but no queries were sampled there", index);
  const kvfold_turn turn = turn_of(target, *plan.fit, index, 0);
  if (kvfold_status status = kvfold_check_turn(&turn, error)) return status;
  const uint32_t rows = kvfold_turned_rows(&turn), fitting = rows - rows / plan.fit->holdout;
  if (most > fitting / 4)
    return fail(error, KVFOLD_STATUS_PLAN_FIT, "layer %u: a head has %llu free rows, %u query rows can bear %u", index,
                wide(most), fitting, fitting / 4);
  if (most > KVFOLD_ATTENTION_MAX_FREE)
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "layer %u: a head has %llu free rows, the limit is %u", index,
                wide(most), KVFOLD_ATTENTION_MAX_FREE);
  return check_outputs(target, index, rows, error);
}

kvfold_status check_fit(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  const kvfold_fit_request &fit = *plan.fit;
  if (kvfold_status status = check_mask(target, plan, fit.free, "free", UINT8_MAX, error)) return status;
  if (!(fit.lambda > 0 && fit.lambda <= KVFOLD_MAX_LAMBDA))
    return fail(error, KVFOLD_STATUS_PLAN_FIT, "lambda is %g, it must be above 0 and at most %g", fit.lambda,
                KVFOLD_MAX_LAMBDA);
  if (fit.horizon == 0 || fit.horizon > KVFOLD_MAX_FIT_ROWS || fit.max_rows == 0 || fit.max_rows > KVFOLD_MAX_FIT_ROWS)
    return fail(error, KVFOLD_STATUS_PLAN_FIT, "a fit over %u positions and %u query rows; 1 to %u are allowed",
                fit.horizon, fit.max_rows, KVFOLD_MAX_FIT_ROWS);
  if (fit.holdout < 2 || fit.holdout > fit.max_rows)
    return fail(error, KVFOLD_STATUS_PLAN_FIT, "holdout is %u, it must be 2 to %u", fit.holdout, fit.max_rows);
  if (int64_t{plan.positions.data[plan.rows - 1]} + fit.horizon >= INT32_MAX)
    return fail(error, KVFOLD_STATUS_PLAN_FIT, "no %u positions are left after the last row", fit.horizon);
  if (target.queries == nullptr || target.queries->layer_count != target.memory->layer_count)
    return fail(error, KVFOLD_STATUS_PLAN_FIT, "a fit needs a query sample of the %u layers",
                target.memory->layer_count);
  if (target.bias.length != 0 && target.bias.length != target.cells)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "bias has %llu entries for %u cells", wide(target.bias.length),
                target.cells);
  for (uint32_t l = 0; l < target.memory->layer_count; l++) {
    if (kvfold_status status = check_layer_fit(target, plan, l, error)) return status;
  }
  return KVFOLD_OK;
}

}  // namespace

kvfold_status check_fit_and_values(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  if (plan.fit != nullptr && plan.values != nullptr)
    return fail(error, KVFOLD_STATUS_PLAN_FIT, "the plan both solves for values and gives values");
  if (plan.fit != nullptr) return check_fit(target, plan, error);
  return plan.values != nullptr ? check_values(target, plan, error) : KVFOLD_OK;
}

kvfold_status check_exact_values(const kvfold_target &target, const kvfold_plan &plan, kvfold_error *error) {
  const kvfold_u8_span *mask = changed_values(plan);
  if (mask == nullptr || plan.pins.length == 0) return KVFOLD_OK;
  const size_t heads = most_heads(*target.memory);
  for (size_t i = 0; i < mask->length; i++) {
    if (mask->data[i] == 0) continue;
    const uint32_t row = static_cast<uint32_t>(i % plan.rows);
    // an exactly pinned cell is alone in its row
    const uint32_t cell = plan.members.data[plan.layout == KVFOLD_COMPOSITE ? i : plan.offsets.data[row]];
    if (plan.pins.data[cell] == KVFOLD_PIN_EXACT)
      return fail(error, KVFOLD_STATUS_PLAN_PIN,
                  "layer %zu head %zu: row %u changes the value of the exactly pinned cell %u", i / plan.rows / heads,
                  i / plan.rows % heads, row, cell);
  }
  return KVFOLD_OK;
}

}  // namespace kvfold

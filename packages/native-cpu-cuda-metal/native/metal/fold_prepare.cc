// Prepare: gathers what has to be computed and reserves all that a commit will need. All layers are one submission,
// unless values are given or fitted: those of a layer need what was computed before.
#include <memory>

#include "common/error.h"
#include "common/location.h"
#include "common/scratch.h"
#include "metal/fit.h"
#include "metal/fold.h"
#include "metal/fold_compute.h"
#include "metal/values.h"

namespace kvfold {
namespace metal {
namespace {

static_assert(kComputed == SliceTable::kComputed, "layout.h repeats slices.h");

/// The table of a commit: entries, then computed slices before each head.
bool keep_table(const SliceTable &table, const Tensor &tensor, Buffer *kept) {
  const size_t rows = table.rows(), entries = rows * tensor.heads;
  if (!kept->allocate((entries + tensor.heads + 1) * sizeof(uint32_t))) return false;
  for (size_t head = 0; head < tensor.heads; head++) {
    for (size_t row = 0; row < rows; row++) kept->as<uint32_t>()[head * rows + row] = table.entry(head, row);
  }
  for (size_t head = 0; head <= tensor.heads; head++) kept->as<uint32_t>()[entries + head] = table.computed_before(head);
  return true;
}

kvfold_status prepare_tensor(Fold *fold, uint32_t index, const PlanBuffers &arrays, Work *work,
                             const kvfold_options *options, kvfold_error *error) {
  TensorWork &of = fold->tensors[index];
  const Tensor tensor = fold->tensor(index);
  if (cancelled(options)) return fail_aborted(error);
  if (fault_here(options)) return fail_fault(options, error, "before a tensor was prepared");
  fold->table.fill(fold->recipe(index), tensor);
  size_t scratch = 0, undo = 0;
  // both are at most the tensor itself, whose size kvfold_check_memory has multiplied out
  if (!multiply(fold->table.computed_before(tensor.heads), tensor.slice_bytes, &scratch) ||
      !multiply(fold->plan->rows, tensor.row_bytes, &undo))
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "the rows do not fit the address space");
  if (!of.cache.open(tensor)) return fail_memory(error, "a copy of the cache");
  if (!of.scratch.allocate(scratch)) return fail_memory(error, "the rows of the fold");
  if (!of.undo.allocate(undo)) return fail_memory(error, "the undo log");
  if (!keep_table(fold->table, tensor, &of.table)) return fail_memory(error, "the table of slices");
  fold->held_bytes += scratch + undo + of.table.bytes();
  if (fault_here(options)) return fail_fault(options, error, "before a tensor was computed");
  if (kvfold_status status = compute_slices(*fold, index, arrays, work, error)) return status;
  if (fault_here(options)) return fail_fault(options, error, "after a tensor was computed");
  return KVFOLD_OK;
}

/// Keys and values, then the values that no sum of members gives.
kvfold_status prepare_layer(Fold *fold, uint32_t layer, const PlanBuffers &arrays, Work *work,
                            const kvfold_options *options, kvfold_error *error) {
  for (uint32_t kind : {KVFOLD_KEYS, KVFOLD_VALUES}) {
    if (kvfold_status status = prepare_tensor(fold, 2 * layer + kind, arrays, work, options, error)) return status;
  }
  if (fold->plan->values != nullptr) return store_given(*fold, layer, work, error);
  return fold->plan->fit != nullptr ? fit_layer(fold, layer, work, *options, error) : KVFOLD_OK;
}

kvfold_status load_slots(Fold *fold, kvfold_error *error) {
  const kvfold_u32_span &destinations = fold->target->destinations;
  const uint32_t capacity = fold->target->memory->capacity;
  if (!fold->destinations.assign(destinations.data, destinations.length) ||
      !fold->row_of_slot.allocate(uint64_t{capacity} * sizeof(uint32_t)))
    return fail_memory(error, "the table of slots");
  uint32_t *row_of_slot = fold->row_of_slot.as<uint32_t>();
  for (uint32_t slot = 0; slot < capacity; slot++) row_of_slot[slot] = kNone;
  for (uint32_t row = 0; row < fold->plan->rows; row++) row_of_slot[destinations.data[row]] = row;
  return KVFOLD_OK;
}

kvfold_status prepare(Fold *fold, const kvfold_target &target, const kvfold_plan &plan, const kvfold_options *options,
                      kvfold_error *error) {
  if (kvfold_status status = check_device(error)) return status;
  fold->target = &target;
  fold->plan = &plan;
  const kvfold_memory &memory = *target.memory;
  fold->tensors = std::vector<TensorWork>(size_t{2} * memory.layer_count);
  if (!fold->table.allocate(most_heads(memory), plan.rows) ||
      (plan.fit != nullptr && !fold->key_table.allocate(most_heads(memory), plan.rows)))
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "%u rows of %u heads are too many", plan.rows, most_heads(memory));
  if (kvfold_status status = load_slots(fold, error)) return status;
  if (plan.fit != nullptr) {
    if (kvfold_status status = check_fit_memory(*fold, *options, error)) return status;
  }
  PlanBuffers arrays;
  if (!arrays.load(target, plan)) return fail_memory(error, "the arrays of the plan");
  Work work;
  for (uint32_t layer = 0; layer < memory.layer_count; layer++) {
    if (kvfold_status status = prepare_layer(fold, layer, arrays, &work, options, error)) return status;
  }
  if (cancelled(options)) return fail_aborted(error);
  if (kvfold_status status = work.finish(error)) return status;
  return cancelled(options) ? fail_aborted(error) : KVFOLD_OK;
}

}  // namespace

kvfold_status fold_prepare(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                           kvfold_fold **out, kvfold_error *error) {
  *out = nullptr;
  if (kvfold_status status = require_location(*target->memory, KVFOLD_LOCATION_HOST, kBackend.name, error)) return status;
  kvfold_status status = KVFOLD_OK;
  try {
    auto fold = std::make_unique<Fold>();
    status = prepare(fold.get(), *target, *plan, options, error);
    if (status == KVFOLD_OK) *out = fold.release()->handle();
  } catch (...) {
    status = fail_memory(error, "the fold");
  }
  return status;
}

}  // namespace metal
}  // namespace kvfold

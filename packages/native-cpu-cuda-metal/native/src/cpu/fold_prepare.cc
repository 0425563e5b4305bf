// Prepare: computes what has to be computed and reserves all that a commit will need.
#include <new>

#include "common/error.h"
#include "common/location.h"
#include "cpu/fit.h"
#include "cpu/fold.h"
#include "cpu/new_slices.h"

namespace kvfold {
namespace cpu {
namespace {

kvfold_status prepare_tensor(Fold *fold, uint32_t index, const kvfold_options *options, kvfold_error *error) {
  TensorWork &work = fold->tensors[index];
  const Tensor tensor = fold->tensor(index);
  if (cancelled(options)) return fail_aborted(error);
  if (fault_here(options)) return fail_fault(options, error, "before a tensor was prepared");
  fold->table.fill(fold->recipe(index), tensor);
  size_t scratch = 0, undo = 0;
  // both are at most the tensor itself, whose size kvfold_check_memory has multiplied out
  if (!multiply(fold->table.computed_before(tensor.heads), tensor.slice_bytes, &scratch) ||
      !multiply(fold->plan->rows, tensor.row_bytes, &undo))
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "the rows do not fit the address space");
  if (!work.scratch.allocate(scratch)) return fail_memory(error, "the rows of the fold");
  if (!work.undo.allocate(undo)) return fail_memory(error, "the undo log");
  fold->held_bytes += scratch + undo;
  if (fault_here(options)) return fail_fault(options, error, "before a tensor was computed");
  if (kvfold_status status = compute_slices(*fold, index, &work, options, error)) return status;
  if (fault_here(options)) return fail_fault(options, error, "after a tensor was computed");
  return KVFOLD_OK;
}

/// Keys and values, then the values that no sum of members gives.
kvfold_status prepare_layer(Fold *fold, uint32_t layer, const kvfold_options *options, kvfold_error *error) {
  for (uint32_t kind : {KVFOLD_KEYS, KVFOLD_VALUES}) {
    if (kvfold_status status = prepare_tensor(fold, 2 * layer + kind, options, error)) return status;
  }
  if (fold->plan->values != nullptr) return store_given(fold, layer, error);
  return fold->plan->fit != nullptr ? fit_layer(fold, layer, *options, error) : KVFOLD_OK;
}

kvfold_status prepare(Fold *fold, const kvfold_target &target, const kvfold_plan &plan, const kvfold_options *options,
                      kvfold_error *error) {
  if (kvfold_status status = require_location(*target.memory, KVFOLD_LOCATION_HOST, "cpu", error)) return status;
  fold->target = &target;
  fold->plan = &plan;
  const kvfold_memory &memory = *target.memory;
  fold->tensors = std::vector<TensorWork>(size_t{2} * memory.layer_count);
  if (!fold->table.allocate(most_heads(memory), plan.rows))
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "%u rows of %u heads are too many", plan.rows, most_heads(memory));
  if (!fold->row_of_slot.allocate(memory.capacity)) return fail_memory(error, "the table of slots");
  for (uint32_t slot = 0; slot < memory.capacity; slot++) fold->row_of_slot[slot] = Fold::kNotWritten;
  for (uint32_t row = 0; row < plan.rows; row++) fold->row_of_slot[target.destinations.data[row]] = row;
  if (plan.fit != nullptr) {
    if (kvfold_status status = check_fit_memory(*fold, *options, error)) return status;
    if (!fold->key_table.allocate(most_heads(memory), plan.rows)) return fail_memory(error, "the table of keys");
  }
  for (uint32_t l = 0; l < memory.layer_count; l++) {
    if (kvfold_status status = prepare_layer(fold, l, options, error)) return status;
  }
  return cancelled(options) ? fail_aborted(error) : KVFOLD_OK;
}

}  // namespace

kvfold_status fold_prepare(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                           kvfold_fold **out, kvfold_error *error) {
  *out = nullptr;
  Fold *fold = nullptr;
  kvfold_status status = KVFOLD_OK;
  try {
    fold = new Fold();
    status = prepare(fold, *target, *plan, options, error);
  } catch (...) {
    status = fail_memory(error, "the fold");
  }
  if (status == KVFOLD_OK) *out = reinterpret_cast<kvfold_fold *>(fold);
  else delete fold;
  return status;
}

kvfold_fold_report fold_report(const kvfold_fold *fold) {
  const Fold &self = *reinterpret_cast<const Fold *>(fold);
  return {self.fits.empty() ? nullptr : self.fits.data(), self.fits.size(), self.held_bytes, self.working_bytes};
}

void fold_free(kvfold_fold *fold) { delete reinterpret_cast<Fold *>(fold); }

}  // namespace cpu
}  // namespace kvfold

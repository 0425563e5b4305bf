// Prepare: looks up where every cell will be found, reserves all that a commit needs, and stages rows whose values are
// not the sum of their members.
#include <algorithm>
#include <memory>

#include "common/error.h"
#include "common/location.h"
#include "common/queries.h"
#include "cpu/fit.h"
#include "cpu/fold.h"
#include "cpu/new_slices.h"

namespace kvfold {
namespace cpu {
namespace {

/// Cells that fit a cache should stay there for the next token.
constexpr size_t kStreamedBytes = 4 << 20;
/// Written by a task.
constexpr size_t kLeastOfTask = 16 << 10, kMostOfTask = 1 << 20;

kvfold_status stage_tensor(Fold *fold, uint32_t index, const kvfold_options *options, kvfold_error *error) {
  TensorWork &work = fold->tensors[index];
  const Tensor tensor = fold->tensor(index);
  fold->table.fill(fold->recipe(index), tensor);
  size_t scratch = 0;
  // at most the tensor itself, whose size kvfold_check_memory has multiplied out
  if (!multiply(fold->table.computed_before(tensor.heads), tensor.slice_bytes, &scratch))
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "the rows do not fit the address space");
  if (!work.scratch.allocate(scratch)) return fail_memory(error, "the rows of the fold");
  fold->held_bytes += scratch;
  return compute_slices(*fold, index, options, error);
}

/// Keys and values, then the values that no sum of members gives.
kvfold_status prepare_layer(Fold *fold, uint32_t layer, const kvfold_options *options, kvfold_error *error) {
  for (uint32_t kind : {KVFOLD_KEYS, KVFOLD_VALUES}) {
    if (cancelled(options)) return fail_aborted(error);
    if (fault_here(options)) return fail_fault(options, error, "before a tensor was prepared");
    if (fold->staged) {
      if (kvfold_status status = stage_tensor(fold, 2 * layer + kind, options, error)) return status;
    }
    if (fault_here(options)) return fail_fault(options, error, "after a tensor was prepared");
  }
  if (fold->plan->values != nullptr) return store_given(fold, layer, error);
  return fold->plan->fit != nullptr ? fit_layer(fold, layer, *options, error) : KVFOLD_OK;
}

kvfold_status place_cells(Fold *fold, kvfold_error *error) {
  const kvfold_target &target = *fold->target;
  const uint32_t capacity = target.memory->capacity;
  if (!fold->row_of_slot.allocate(capacity) || !fold->place.allocate(target.cells))
    return fail_memory(error, "the table of slots");
  uint32_t *row_of_slot = fold->row_of_slot.data(), *place = fold->place.data();
  const uint32_t *destinations = target.destinations.data, *slots = target.slots.data;
  const uint32_t rows = fold->plan->rows, cells = target.cells;
  std::fill(row_of_slot, row_of_slot + capacity, Fold::kNotWritten);
  for (uint32_t row = 0; row < rows; row++) row_of_slot[destinations[row]] = row;
  for (uint32_t cell = 0; cell < cells; cell++) {
    const uint32_t row = row_of_slot[slots[cell]];
    place[cell] = row == Fold::kNotWritten ? slots[cell] : Fold::kLogged | row;
  }
  return KVFOLD_OK;
}

/// The undo log of a tensor starts where the cache line does.
kvfold_status reserve_undo(Fold *fold, kvfold_error *error) {
  size_t whole = 0;
  std::vector<size_t> begins(fold->tensors.size());
  for (uint32_t i = 0; i < begins.size(); i++) {
    size_t bytes = 0;
    begins[i] = whole;
    if (!multiply(fold->plan->rows, fold->tensor(i).row_bytes, &bytes) || bytes > PTRDIFF_MAX - 64 - whole)
      return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "the rows do not fit the address space");
    whole += (bytes + 63) / 64 * 64;
  }
  fold->streaming = whole >= kStreamedBytes;
  // sixteen tasks a thread; those of the last eighth of the tensors are smaller, so that no thread waits long for another
  const size_t task = std::min(kMostOfTask, std::max(kLeastOfTask, whole / (16 * size_t{fold->spaces.count()})));
  const size_t last_task = std::max(kLeastOfTask / 2, task / 4);
  const uint32_t tensors = static_cast<uint32_t>(begins.size()), last_tensors = tensors - tensors / 8;
  fold->tasks.reserve(tensors);
  for (uint32_t i = 0; i < tensors; i++)
    fold->tasks.add(fold->tensor(i), fold->plan->rows, i < last_tensors ? task : last_task);
  if (!fold->undo.allocate(whole)) return fail_memory(error, "the undo log");
  for (size_t i = 0; i < begins.size(); i++) fold->tensors[i].undo = fold->undo.data() + begins[i];
  fold->held_bytes += whole;
  return KVFOLD_OK;
}

kvfold_status reserve_spaces(Fold *fold, uint32_t threads, kvfold_error *error) {
  size_t dim = 0, stage = 0;
  bool lanes = false;
  for (uint32_t i = 0; i < fold->tensors.size(); i++) {
    const Tensor tensor = fold->tensor(i);
    dim = std::max<size_t>(dim, tensor.dim);
    lanes = lanes || tensor.transposed;
    stage = std::max(stage, tensor.transposed ? fold->plan->rows * tensor.element_bytes : 2 * tensor.row_bytes);
  }
  const size_t members = fold->plan->layout == KVFOLD_SHARED ? static_cast<size_t>(fold->plan->members.length) : 0;
  if (!fold->spaces.allocate(threads, dim, stage) ||
      (lanes && !fold->spaces.allocate_lanes(fold->plan->rows, members)))
    return fail_memory(error, "the buffers of the threads");
  return KVFOLD_OK;
}

kvfold_status prepare(Fold *fold, const kvfold_target &target, const kvfold_plan &plan, const kvfold_options *options,
                      kvfold_error *error) {
  if (kvfold_status status = require_location(*target.memory, KVFOLD_LOCATION_HOST, "cpu", error)) return status;
  fold->target = &target;
  fold->plan = &plan;
  const kvfold_memory &memory = *target.memory;
  fold->tensors = std::vector<TensorWork>(size_t{2} * memory.layer_count);
  fold->staged = changed_values(plan) != nullptr;
  if (kvfold_status status = place_cells(fold, error)) return status;
  if (plan.layout == KVFOLD_SHARED && !fold->members.fill(plan, fold->place.data()))
    return fail_memory(error, "the places of the members");
  if (kvfold_status status = reserve_spaces(fold, options->threads, error)) return status;
  if (fold->staged && !fold->table.allocate(most_heads(memory), plan.rows))
    return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "%u rows of %u heads are too many", plan.rows, most_heads(memory));
  if (plan.fit != nullptr) {
    if (kvfold_status status = check_fit_memory(*fold, *options, error)) return status;
    if (!fold->key_table.allocate(most_heads(memory), plan.rows)) return fail_memory(error, "the table of keys");
  }
  for (uint32_t l = 0; l < memory.layer_count; l++) {
    if (kvfold_status status = prepare_layer(fold, l, options, error)) return status;
  }
  if (kvfold_status status = reserve_undo(fold, error)) return status;
  return cancelled(options) ? fail_aborted(error) : KVFOLD_OK;
}

}  // namespace

kvfold_status fold_prepare(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                           kvfold_fold **out, kvfold_error *error) {
  *out = nullptr;
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

kvfold_fold_report Fold::report() const {
  return {fits.empty() ? nullptr : fits.data(), fits.size(), held_bytes, working_bytes};
}

}  // namespace cpu
}  // namespace kvfold

// Commit and rollback. A commit is two submissions over all layers: the old rows are saved, and only when the GPU says
// that all of them are, new ones are written: whatever fails, the undo log is whole where it is needed. A rollback is
// the CPU's, which reaches the same memory and works when the GPU does not.
#include <cstring>

#include "common/error.h"
#include "metal/fold.h"

namespace kvfold {
namespace metal {
namespace {

/// The unit in which kernels move the bytes of a tensor.
struct Unit {
  const char *save, *write;
  uint32_t bytes;
};

Unit unit_of(const Tensor &tensor, const TensorLayout &layout) {
  if (tensor.transposed)
    return tensor.element_bytes == 4 ? Unit{"save_lanes_4", "write_lanes_4", 4}
                                     : Unit{"save_lanes_2", "write_lanes_2", 2};
  const uint32_t sizes = layout.base | layout.slice_bytes;  // a row is a whole number of slices
  if (sizes % 16 == 0) return {"save_rows_16", "write_rows_16", 16};
  if (sizes % 4 == 0) return {"save_rows_4", "write_rows_4", 4};
  return {"save_rows_2", "write_rows_2", 2};
}

/// Rows, or channels of a transposed tensor.
uint64_t parts_of(const Tensor &tensor, const kvfold_plan &plan) {
  return tensor.transposed ? uint64_t{tensor.heads} * tensor.dim : plan.rows;
}

struct Step {
  const Fold &fold;
  const Tensor tensor;
  const TensorWork &of;
  Work &work;

  CopyParameters parameters(const Unit &unit, uint64_t from) const {
    const TensorLayout layout = of.cache.layout();
    return {0,
            layout.base / unit.bytes,
            layout.row_bytes / unit.bytes,
            layout.slice_bytes / unit.bytes,
            layout.heads,
            layout.dim,
            fold.plan->rows,
            layout.capacity,
            static_cast<uint32_t>(from)};
  }

  uint64_t threads(const Unit &unit, uint64_t from, uint64_t to) const {
    return (to - from) * (tensor.transposed ? fold.plan->rows : tensor.row_bytes / unit.bytes);
  }

  void save(uint64_t from, uint64_t to) const {
    const Unit unit = unit_of(tensor, of.cache.layout());
    work.run(unit.save, parameters(unit, from), threads(unit, from, to),
             {of.cache.buffer(), of.undo, fold.destinations});
  }

  void write(uint64_t from, uint64_t to) const {
    const Unit unit = unit_of(tensor, of.cache.layout());
    work.run(unit.write, parameters(unit, from), threads(unit, from, to),
             {of.cache.buffer(), of.scratch, of.undo, fold.destinations, of.table, fold.row_of_slot});
  }
};

/// With a fault walk, what stands before a point is done when the point is passed; else it only waits its turn.
kvfold_status reach(Work *work, const kvfold_options *options, const char *where, kvfold_error *error) {
  if (options->faults == nullptr) return KVFOLD_OK;
  if (kvfold_status status = work->finish(error)) return status;
  return fault_here(options) ? fail_fault(options, error, where) : KVFOLD_OK;
}

kvfold_status save_tensor(const Step &step, uint64_t parts, const kvfold_options *options, kvfold_error *error) {
  if (kvfold_status status = reach(&step.work, options, "before the old rows were saved", error)) return status;
  step.save(0, parts / 2);
  if (kvfold_status status = reach(&step.work, options, "while the old rows were saved", error)) return status;
  step.save(parts / 2, parts);
  return reach(&step.work, options, "after the old rows were saved", error);
}

kvfold_status write_tensor(const Step &step, uint64_t parts, const kvfold_options *options, kvfold_error *error) {
  step.write(0, parts / 2);
  if (kvfold_status status = reach(&step.work, options, "while the new rows were written", error)) return status;
  step.write(parts / 2, parts);
  return reach(&step.work, options, "after the new rows were written", error);
}

kvfold_status save_all(Fold *fold, const kvfold_options *options, kvfold_error *error) {
  Work work;
  for (uint32_t i = 0; i < fold->tensors.size(); i++) {
    fold->tensors[i].cache.refresh();
    const Step step{*fold, fold->tensor(i), fold->tensors[i], work};
    if (kvfold_status status = save_tensor(step, parts_of(step.tensor, *fold->plan), options, error)) return status;
  }
  if (kvfold_status status = work.finish(error)) return status;
  for (TensorWork &tensor : fold->tensors) tensor.saved = true;
  return KVFOLD_OK;
}

/// A failure leaves what was written where it is, in copies too: the rollback puts all of it back.
kvfold_status write_all(Fold *fold, const kvfold_options *options, kvfold_error *error) {
  Work work;
  kvfold_status status = KVFOLD_OK;
  for (uint32_t i = 0; i < fold->tensors.size() && status == KVFOLD_OK; i++) {
    const Step step{*fold, fold->tensor(i), fold->tensors[i], work};
    status = write_tensor(step, parts_of(step.tensor, *fold->plan), options, error);
  }
  if (status == KVFOLD_OK) status = work.finish(error);
  for (const TensorWork &tensor : fold->tensors) tensor.cache.publish(fold->target->destinations);
  return status;
}

/// Puts the rows of the undo log back into the owner's memory.
void restore(const Fold &fold, const Tensor &tensor, const uint8_t *undo) {
  const size_t rows = fold.plan->rows;
  const size_t lanes = tensor.transposed ? size_t{tensor.heads} * tensor.dim : 1;
  const size_t bytes = tensor.transposed ? tensor.element_bytes : tensor.row_bytes;
  for (size_t lane = 0; lane < lanes; lane++) {
    uint8_t *to = tensor.channel(lane);  // lane 0 of a tensor in rows is all of it
    for (size_t row = 0; row < rows; row++, undo += bytes)
      std::memcpy(to + fold.target->destinations.data[row] * bytes, undo, bytes);
  }
}

}  // namespace

kvfold_status fold_commit(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error) {
  Fold *self = reinterpret_cast<Fold *>(fold);
  try {
    if (kvfold_status status = save_all(self, options, error)) return status;
    return write_all(self, options, error);
  } catch (...) {
    return fail_memory(error, "the commit");
  }
}

kvfold_status fold_rollback(kvfold_fold *fold, const kvfold_options *, kvfold_error *) {
  Fold *self = reinterpret_cast<Fold *>(fold);
  for (uint32_t i = 0; i < self->tensors.size(); i++) {
    if (self->tensors[i].saved) restore(*self, self->tensor(i), self->tensors[i].undo.as<uint8_t>());
  }
  return KVFOLD_OK;
}

}  // namespace metal
}  // namespace kvfold

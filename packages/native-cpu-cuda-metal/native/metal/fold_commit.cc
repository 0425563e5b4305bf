// Commit and rollback. A commit is two submissions over all layers: the old rows are saved, and only when the GPU says
// that all of them are, new ones are written: whatever fails, the undo log is whole where it is needed. A rollback is
// the CPU's, which reaches the same memory and works when the GPU does not.
#include <cstring>

#include "metal/copy.h"
#include "metal/fold.h"

namespace kvfold {
namespace metal {
namespace {

/// The kernels and the unit in which they move the bytes of a tensor.
struct Unit {
  const char *save, *write;
  uint32_t bytes;
};

Unit unit_of(const Tensor &tensor, const TensorLayout &layout) {
  if (tensor.transposed)
    return tensor.element_bytes == 4 ? Unit{"save_lanes_4", "write_lanes_4", 4}
                                     : Unit{"save_lanes_2", "write_lanes_2", 2};
  const CopyUnit unit = copy_unit(layout.base | layout.slice_bytes);  // a row is a whole number of slices
  return {unit.save_rows, unit.write_rows, unit.bytes};
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

kvfold_status Fold::save(const kvfold_options *options, kvfold_error *error) {
  if (saved) return KVFOLD_OK;
  Work work;
  for (uint32_t i = 0; i < tensors.size(); i++) {
    const Step step{*this, tensor(i), tensors[i], work};
    if (kvfold_status status = save_tensor(step, parts_of(step.tensor, *plan), options, error)) return status;
  }
  if (kvfold_status status = work.finish(error)) return status;
  saved = true;
  return KVFOLD_OK;
}

/// A failure leaves what was written where it is, in copies too: the rollback puts all of it back.
kvfold_status Fold::commit(const kvfold_options *options, kvfold_error *error) {
  if (kvfold_status status = save(options, error)) return status;
  Work work;
  kvfold_status status = KVFOLD_OK;
  for (uint32_t i = 0; i < tensors.size() && status == KVFOLD_OK; i++) {
    const Step step{*this, tensor(i), tensors[i], work};
    status = write_tensor(step, parts_of(step.tensor, *plan), options, error);
  }
  if (status == KVFOLD_OK) status = work.finish(error);
  for (const TensorWork &one : tensors) one.cache.publish(target->destinations);
  return status;
}

void Fold::rollback(const kvfold_options *) {
  for (uint32_t i = 0; i < tensors.size() && saved; i++) restore(*this, tensor(i), tensors[i].undo.as<uint8_t>());
}

}  // namespace metal
}  // namespace kvfold

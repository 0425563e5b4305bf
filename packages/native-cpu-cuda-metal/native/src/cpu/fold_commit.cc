// Commit and rollback. Only bytes move here: nothing is computed and nothing is allocated.
#include <algorithm>
#include <cstring>

#include "common/error.h"
#include "cpu/fold.h"
#include "cpu/pool.h"

namespace kvfold {
namespace cpu {
namespace {

constexpr size_t kRowsOfTask = 64;
constexpr size_t kChannelsOfTask = 8;

/// Elements are 2 or 4 bytes; a fixed size lets the compiler make it one load and store.
inline void copy_element(uint8_t *to, const uint8_t *from, size_t bytes) {
  if (bytes == 2) std::memcpy(to, from, 2);
  else std::memcpy(to, from, 4);
}

/// What the parts of a commit share.
struct Step {
  const Fold &fold;
  const Tensor tensor;
  TensorWork &work;
  uint32_t threads;

  /// Half of the work is done before a fault point, half after it: units [from, to) are rows, or channels.
  size_t units() const { return tensor.transposed ? size_t{tensor.heads} * tensor.dim : rows(); }
  size_t rows() const { return fold.plan->rows; }

  template <typename Unit>
  void each(size_t from, size_t to, Unit &&unit) const {
    const size_t block = tensor.transposed ? kChannelsOfTask : kRowsOfTask;
    parallel_for(threads, (to - from + block - 1) / block, [&](size_t task, uint32_t) {
      for (size_t i = from + task * block; i < std::min(to, from + (task + 1) * block); i++) unit(i);
    });
  }
};

void save_row(const Step &step, size_t row) {
  const size_t bytes = step.tensor.row_bytes;
  std::memcpy(step.work.undo.data() + row * bytes, step.tensor.slice(step.fold.destination(row), 0), bytes);
}

void restore_row(const Step &step, size_t row) {
  const size_t bytes = step.tensor.row_bytes;
  std::memcpy(step.tensor.slice(step.fold.destination(row), 0), step.work.undo.data() + row * bytes, bytes);
}

void save_channel(const Step &step, size_t channel) {
  const size_t bytes = step.tensor.element_bytes, rows = step.rows();
  const uint8_t *lane = step.tensor.channel(channel);
  uint8_t *log = step.work.undo.data() + channel * rows * bytes;
  for (size_t r = 0; r < rows; r++) copy_element(log + r * bytes, lane + step.fold.destination(r) * bytes, bytes);
}

void restore_channel(const Step &step, size_t channel) {
  const size_t bytes = step.tensor.element_bytes, rows = step.rows();
  uint8_t *lane = step.tensor.channel(channel);
  const uint8_t *log = step.work.undo.data() + channel * rows * bytes;
  for (size_t r = 0; r < rows; r++) copy_element(lane + step.fold.destination(r) * bytes, log + r * bytes, bytes);
}

/// A source cell that the fold overwrites is read from the undo log, so no order of writing can be wrong.
void write_row(const Step &step, size_t row) {
  const Tensor &tensor = step.tensor;
  const Fold &fold = step.fold;
  for (size_t head = 0; head < tensor.heads; head++) {
    const uint32_t entry = fold.table.entry(head, row), index = SliceTable::index(entry);
    const uint8_t *from = nullptr;
    if (SliceTable::is_computed(entry)) {
      from = step.work.scratch.data() + index * tensor.slice_bytes;
    } else if (index == fold.destination(row)) {
      continue;
    } else if (fold.row_of_slot[index] != Fold::kNotWritten) {
      from = step.work.undo.data() + fold.row_of_slot[index] * tensor.row_bytes + head * tensor.slice_bytes;
    } else {
      from = tensor.slice(index, head);
    }
    std::memcpy(tensor.slice(fold.destination(row), head), from, tensor.slice_bytes);
  }
}

void write_channel(const Step &step, size_t channel) {
  const Tensor &tensor = step.tensor;
  const Fold &fold = step.fold;
  const size_t bytes = tensor.element_bytes, rows = step.rows();
  const size_t head = channel / tensor.dim, j = channel % tensor.dim;
  const size_t before = fold.table.computed_before(head), count = fold.table.computed_before(head + 1) - before;
  uint8_t *lane = tensor.channel(channel);
  const uint8_t *computed = step.work.scratch.data() + (before * tensor.dim + j * count) * bytes;
  const uint8_t *log = step.work.undo.data() + channel * rows * bytes;
  for (size_t r = 0; r < rows; r++) {
    const uint32_t entry = fold.table.entry(head, r), index = SliceTable::index(entry);
    const uint8_t *from = nullptr;
    if (SliceTable::is_computed(entry)) from = computed + (index - before) * bytes;
    else if (fold.row_of_slot[index] != Fold::kNotWritten) from = log + fold.row_of_slot[index] * bytes;
    else from = lane + index * bytes;
    copy_element(lane + fold.destination(r) * bytes, from, bytes);
  }
}

void save(const Step &step, size_t from, size_t to) {
  step.each(from, to, [&](size_t i) { step.tensor.transposed ? save_channel(step, i) : save_row(step, i); });
}

void write(const Step &step, size_t from, size_t to) {
  step.each(from, to, [&](size_t i) { step.tensor.transposed ? write_channel(step, i) : write_row(step, i); });
}

kvfold_status commit_tensor(const Step &step, const kvfold_options *options, kvfold_error *error) {
  const size_t end = step.units(), middle = end / 2;
  if (fault_here(options)) return fail_fault(options, error, "before the old rows were saved");
  save(step, 0, middle);
  if (fault_here(options)) return fail_fault(options, error, "while the old rows were saved");
  save(step, middle, end);
  step.work.saved = true;
  if (fault_here(options)) return fail_fault(options, error, "after the old rows were saved");
  write(step, 0, middle);
  if (fault_here(options)) return fail_fault(options, error, "while the new rows were written");
  write(step, middle, end);
  if (fault_here(options)) return fail_fault(options, error, "after the new rows were written");
  return KVFOLD_OK;
}

}  // namespace

kvfold_status fold_commit(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error) {
  Fold *self = reinterpret_cast<Fold *>(fold);
  for (uint32_t i = 0; i < self->tensors.size(); i++) {
    const Step step{*self, self->tensor(i), self->tensors[i], options->threads};
    self->table.fill(self->recipe(i), step.tensor);
    if (kvfold_status status = commit_tensor(step, options, error)) return status;
  }
  return KVFOLD_OK;
}

kvfold_status fold_rollback(kvfold_fold *fold, const kvfold_options *options, kvfold_error *) {
  Fold *self = reinterpret_cast<Fold *>(fold);
  for (uint32_t i = 0; i < self->tensors.size(); i++) {
    const Step step{*self, self->tensor(i), self->tensors[i], options->threads};
    if (!step.work.saved) continue;  // nothing of this tensor has been written
    step.each(0, step.units(),
              [&](size_t u) { step.tensor.transposed ? restore_channel(step, u) : restore_row(step, u); });
  }
  return KVFOLD_OK;
}

}  // namespace cpu
}  // namespace kvfold

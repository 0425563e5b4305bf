// Staged folds: computed slices into scratch, while the fold is prepared. A slice whose value is changed afterwards
// starts as what its members make it, and as a copy of bytes where that is one.
#include <algorithm>
#include <atomic>

#include "common/error.h"
#include "cpu/lane_maker.h"
#include "cpu/pool.h"
#include "cpu/row_maker.h"

namespace kvfold {
namespace cpu {
namespace {

constexpr size_t kRowsOfTask = 32;

void stage_rows(const Fold &fold, const RowMaker &maker, size_t from, size_t to, FoldSpace *space, uint8_t *scratch) {
  for (size_t row = from; row < to; row++) {
    for (size_t head = 0; head < maker.tensor().heads; head++) {
      const uint32_t entry = fold.table.entry(head, row);
      if (!SliceTable::is_computed(entry)) continue;
      maker.make_slice(row, head, space, scratch + SliceTable::index(entry) * maker.tensor().slice_bytes);
    }
  }
}

void stage_head(const Fold &fold, uint32_t index, size_t head, FoldSpace *space, uint8_t *scratch) {
  const Tensor tensor = fold.tensor(index);
  const LaneMaker maker(fold, index, head, space);
  const size_t bytes = tensor.element_bytes, before = fold.table.computed_before(head);
  const size_t count = fold.table.computed_before(head + 1) - before;
  for (size_t j = 0; j < tensor.dim; j++) {
    maker.make(j, space->stage);
    uint8_t *out = scratch + (before * tensor.dim + j * count) * bytes;
    for (size_t row = 0; row < fold.table.rows(); row++) {
      if (!SliceTable::is_computed(fold.table.entry(head, row))) continue;
      copy_element(out, space->stage + row * bytes, bytes);
      out += bytes;
    }
  }
}

}  // namespace

kvfold_status compute_slices(const Fold &fold, uint32_t index, const kvfold_options *options, kvfold_error *error) {
  const Tensor tensor = fold.tensor(index);
  const RowMaker maker(fold, index, RowMaker::From::slots);
  if (fold.table.computed_before(tensor.heads) == 0) return KVFOLD_OK;
  uint8_t *scratch = const_cast<uint8_t *>(fold.tensors[index].scratch.data());
  std::atomic<bool> stop{false};
  const size_t rows = fold.table.rows();
  const size_t tasks = tensor.transposed ? tensor.heads : (rows + kRowsOfTask - 1) / kRowsOfTask;
  parallel_for(fold.spaces.count(), tasks, [&](size_t task, uint32_t worker) {
    if (stop.load(std::memory_order_relaxed)) return;
    if (cancelled(options)) return stop.store(true, std::memory_order_relaxed);
    FoldSpace *space = &fold.spaces[worker];
    if (tensor.transposed) return stage_head(fold, index, task, space, scratch);
    stage_rows(fold, maker, task * kRowsOfTask, std::min(rows, (task + 1) * kRowsOfTask), space, scratch);
  });
  return stop.load() ? fail_aborted(error) : KVFOLD_OK;
}

}  // namespace cpu
}  // namespace kvfold

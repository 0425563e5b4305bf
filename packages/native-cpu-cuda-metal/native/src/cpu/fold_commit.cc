// Commit and rollback of a fold. Two submissions to the pool, each over all tensors:
//
//     save    the rows that will be overwritten  ->  undo log
//     write   cells (from the log, where their slots are overwritten)  ->  new rows  ->  the cells that stay
//
// Sources in the log do not change any more, so no order of writing can be wrong, whatever the permutation of the
// slots. Nothing is allocated here and nothing can fail but by a test's fault.
#include <algorithm>
#include <cstring>

#include "cpu/lane_maker.h"
#include "cpu/pool.h"
#include "cpu/row_maker.h"

namespace kvfold {
namespace cpu {
namespace {

/// Calls run(row, count) for rows of [from, to) whose destinations follow each other.
template <typename Run>
void each_run(const Fold &fold, size_t from, size_t to, const Run &run) {
  for (size_t row = from, next = row; row < to; row = next) {
    const size_t offset = fold.destination(row) - row;
    for (next = row + 1; next < to && fold.destination(next) - next == offset;) next++;
    run(row, next - row);
  }
}

struct RowCopy {
  const Fold &fold;
  const Tensor tensor;
  uint8_t *log;
  const Copy copy;

  uint8_t *destination(size_t row) const { return tensor.slice(fold.destination(row), 0); }
  uint8_t *logged(size_t row) const { return log + row * tensor.row_bytes; }
  void save(size_t from, size_t to) const {
    each_run(fold, from, to,
             [&](size_t row, size_t count) { copy(logged(row), destination(row), count * tensor.row_bytes); });
  }
  void restore(size_t from, size_t to) const {
    each_run(fold, from, to,
             [&](size_t row, size_t count) { copy(destination(row), logged(row), count * tensor.row_bytes); });
  }
  /// New rows, [to - from, row bytes].
  void write(size_t from, size_t to, const uint8_t *rows) const {
    each_run(fold, from, to, [&](size_t row, size_t count) {
      copy(destination(row), rows + (row - from) * tensor.row_bytes, count * tensor.row_bytes);
    });
  }
};

struct LaneCopy {
  const Fold &fold;
  const Tensor tensor;
  uint8_t *log;

  void save(size_t channel) const { move(channel, false, log + channel * bytes()); }
  void restore(size_t channel) const { move(channel, true, log + channel * bytes()); }
  void write(size_t channel, uint8_t *rows) const { move(channel, true, rows); }

 private:
  size_t bytes() const { return fold.plan->rows * tensor.element_bytes; }
  void move(size_t channel, bool to_cache, uint8_t *rows) const {
    uint8_t *lane = tensor.channel(channel);
    const size_t element = tensor.element_bytes;
    each_run(fold, 0, fold.plan->rows, [&](size_t row, size_t count) {
      uint8_t *cells = lane + fold.destination(row) * element, *other = rows + row * element;
      if (count == 1) copy_element(to_cache ? cells : other, to_cache ? other : cells, element);
      else std::memcpy(to_cache ? cells : other, to_cache ? other : cells, count * element);
    });
  }
};

/// A fault in the middle of a task, where half of its rows have been written.
struct MiddleGate {
  FaultGate &gate;
  const size_t middle;
  bool passed = false;

  MiddleGate(FaultGate *faults, const FoldTask &task) : gate(*faults), middle(task.from + (task.to - task.from) / 2) {}

  bool pass(size_t row) {
    if (passed || row < middle) return true;
    passed = true;
    return gate.pass();
  }
};

/// One commit or rollback: what its tasks share.
struct Step {
  Fold &fold;
  const uint32_t threads;
  FaultGate &gate;

  Step(Fold *of, const kvfold_options *options, FaultGate *faults)
      : fold(*of), threads(std::min(options->threads, of->space_count)), gate(*faults) {}

  RowCopy rows_of(uint32_t index) const {
    return {fold, fold.tensor(index), fold.tensors[index].undo, {fold.streaming}};
  }
  LaneCopy lanes_of(uint32_t index) const { return {fold, fold.tensor(index), fold.tensors[index].undo}; }

  template <typename Work>
  void each_task(size_t begin, size_t end, const Work &work) const {
    parallel_for(threads, end - begin, [&](size_t task, uint32_t worker) {
      const FoldTask part = fold.tasks.at(begin + task);
      work(part, fold.tensor(part.tensor), &fold.spaces[worker]);
      Copy{fold.streaming}.finish();
    });
  }

  void save(const FoldTask &task, const Tensor &tensor) const {
    if (!gate.pass()) return;
    if (tensor.transposed) {
      for (size_t j = task.from; j < task.to; j++) lanes_of(task.tensor).save(task.head * tensor.dim + j);
      return;
    }
    rows_of(task.tensor).save(task.from, task.to);
  }

  void restore(const FoldTask &task, const Tensor &tensor) const {
    if (!tensor.transposed) return rows_of(task.tensor).restore(task.from, task.to);
    for (size_t j = task.from; j < task.to; j++) lanes_of(task.tensor).restore(task.head * tensor.dim + j);
  }

  /// A row that waits in scratch, or is a copy.
  void staged_row(const RowMaker &maker, uint32_t index, size_t row, uint8_t *out) const {
    const size_t bytes = maker.tensor().slice_bytes;
    for (size_t head = 0; head < maker.tensor().heads; head++) {
      const uint32_t entry = fold.table.entry(head, row), at = SliceTable::index(entry);
      const uint8_t *from = fold.tensors[index].scratch.data() + at * bytes;
      if (!SliceTable::is_computed(entry)) from = maker.slice(static_cast<size_t>(maker.copied_cell(row, head)), head);
      std::memcpy(out + head * bytes, from, bytes);
    }
  }

  /// Rows of a batch: at most `bytes` of their cells and what the stage holds, and whole cache lines where that can be.
  static size_t batch_rows(const RowMaker &maker) {
    const size_t bytes = maker.tensor().row_bytes, room = std::max<size_t>(1, FoldSpace::kStageBytes / bytes);
    size_t lines = 64;  // rows after which a line begins again
    while (lines > 1 && lines / 2 * bytes % 64 == 0) lines /= 2;
    const size_t wanted = FoldSpace::kBatchBytes / std::max<size_t>(1, maker.source_bytes());
    const size_t most = std::min(room, std::max<size_t>(1, wanted));
    if (most < lines) return lines <= std::min(room, 2 * most) ? lines : most;
    return most / lines * lines;
  }

  /// Row that stays where it is, or that takes longer than a batch can.
  void write_alone(const RowMaker &maker, const RowCopy &rows, size_t row, FoldSpace *space) const {
    if (maker.keeps(row)) return;
    maker.make_row(row, space, space->stage.data());
    rows.write(row, row + 1, space->stage.data());
  }

  /// New rows of a task, through a stage that stays in the nearest cache: so whole lines are written. While one batch is
  /// made, the cells of the next are on their way from memory.
  void write_rows(const FoldTask &task, FoldSpace *space) const {
    const RowMaker maker(fold, task.tensor, RowMaker::From::log);
    const RowCopy rows = rows_of(task.tensor);
    const size_t most = batch_rows(maker);
    RowBatch *now = &space->batches[0], *next = &space->batches[1];
    const auto gather = [&](size_t from, RowBatch *batch) {
      maker.gather(from, std::min(task.to, (from / most + 1) * most), batch);
    };
    MiddleGate middle(&gate, task);
    gather(task.from, now);
    for (size_t row = task.from; row < task.to;) {
      if (!middle.pass(row)) return;
      if (now->empty()) {
        write_alone(maker, rows, row++, space);
        gather(row, now);
        continue;
      }
      gather(now->end, next);
      kernels().make(rows.tensor.type, now->list(), next->list(), maker.piece_channels(), space->stage.data());
      rows.write(now->begin, now->end, space->stage.data());
      row = now->end;
      std::swap(now, next);
    }
    middle.pass(task.to);
  }

  void write_staged_rows(const FoldTask &task, FoldSpace *space) const {
    const RowMaker maker(fold, task.tensor, RowMaker::From::log);
    const RowCopy rows = rows_of(task.tensor);
    const size_t most = batch_rows(maker);
    MiddleGate middle(&gate, task);
    for (size_t from = task.from, to = from; from < task.to; from = to) {
      if (!middle.pass(from)) return;
      to = std::min(from + most, task.to);
      for (size_t row = from; row < to; row++)
        staged_row(maker, task.tensor, row, space->stage.data() + (row - from) * rows.tensor.row_bytes);
      rows.write(from, to, space->stage.data());
    }
    middle.pass(task.to);
  }

  void staged_lane(uint32_t index, size_t head, size_t j, uint8_t *out) const {
    const Tensor tensor = fold.tensor(index);
    const size_t bytes = tensor.element_bytes, before = fold.table.computed_before(head);
    const size_t count = fold.table.computed_before(head + 1) - before;
    const uint8_t *lane = tensor.channel(head * tensor.dim + j);
    const uint8_t *computed = fold.tensors[index].scratch.data() + (before * tensor.dim + j * count) * bytes;
    for (size_t row = 0; row < fold.plan->rows; row++) {
      const uint32_t entry = fold.table.entry(head, row), at = SliceTable::index(entry);
      copy_element(out + row * bytes,
                   SliceTable::is_computed(entry) ? computed + (at - before) * bytes : lane + at * bytes, bytes);
    }
  }

  void write_lanes(const FoldTask &task, const Tensor &tensor, FoldSpace *space) const {
    const LaneMaker maker(fold, task.tensor, task.head, space);
    const LaneCopy lanes = lanes_of(task.tensor);
    for (size_t j = task.from; j < task.to; j++) {
      if (j == task.from + (task.to - task.from) / 2 && !gate.pass()) return;
      if (fold.staged) staged_lane(task.tensor, task.head, j, space->stage.data());
      else maker.make(j, space->stage.data());
      lanes.write(task.head * tensor.dim + j, space->stage.data());
    }
  }

  void write(const FoldTask &task, const Tensor &tensor, FoldSpace *space) const {
    if (!gate.pass()) return;
    if (tensor.transposed) write_lanes(task, tensor, space);
    else if (fold.staged) write_staged_rows(task, space);
    else write_rows(task, space);
    gate.pass();
  }
};

}  // namespace

kvfold_status Fold::save(const kvfold_options *options, kvfold_error *error) {
  if (saved) return KVFOLD_OK;
  FaultGate gate(options);
  const Step step(this, options, &gate);
  step.each_task(0, tasks.count(),
                 [&](const FoldTask &task, const Tensor &of, FoldSpace *) { step.save(task, of); });
  if (!gate.pass()) return gate.fail_at("while the old rows were saved", error);
  saved = true;
  return KVFOLD_OK;
}

kvfold_status Fold::commit(const kvfold_options *options, kvfold_error *error) {
  if (kvfold_status status = save(options, error)) return status;
  FaultGate gate(options);
  const Step step(this, options, &gate);
  const auto write = [&](const FoldTask &task, const Tensor &of, FoldSpace *space) { step.write(task, of, space); };
  if (!staged) step.each_task(0, tasks.count(), write);
  for (uint32_t i = 0; i < tensors.size() && staged && !gate.stopped(); i++) {
    table.fill(recipe(i), tensor(i));
    step.each_task(tasks.begin(i), tasks.end(i), write);
  }
  return gate.stopped() ? gate.fail_at("while the new rows were written", error) : KVFOLD_OK;
}

void Fold::rollback(const kvfold_options *options) {
  if (!saved) return;  // nothing has been written
  kvfold_options plain = *options;
  plain.faults = nullptr;
  FaultGate gate(&plain);
  const Step step(this, &plain, &gate);
  step.each_task(0, tasks.count(),
                 [&](const FoldTask &task, const Tensor &of, FoldSpace *) { step.restore(task, of); });
}

}  // namespace cpu
}  // namespace kvfold

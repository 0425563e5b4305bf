// Commit and rollback of a fold. Submissions to the pool, each over all tensors (`write` of a staged fold: over one):
//
//     touch   the huge pages of the undo log
//     save    the rows that will be overwritten  ->  undo log
//     write   cells (from the log, where their slots are overwritten)  ->  new rows  ->  the cells that stay
//
// Sources in the log do not change any more, so no order of writing can be wrong, whatever the permutation of the
// slots. Nothing is allocated here and nothing can fail but by a test's fault.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "cpu/lane_maker.h"
#include "cpu/pool.h"
#include "cpu/row_copy.h"
#include "cpu/row_writer.h"
#include "cpu/touch.h"

namespace kvfold {
namespace cpu {
namespace {

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

/// One commit or rollback: what its tasks share.
struct Step {
  Fold &fold;
  const uint32_t threads;
  FaultGate &gate;

  Step(Fold *of, const kvfold_options *options, FaultGate *faults)
      : fold(*of), threads(std::min(options->threads, of->spaces.count())), gate(*faults) {}

  RowCopy rows_of(uint32_t index) const {
    return {fold, fold.tensor(index), fold.tensors[index].undo, {fold.streaming}};
  }
  LaneCopy lanes_of(uint32_t index) const { return {fold, fold.tensor(index), fold.tensors[index].undo}; }

  template <typename Work>
  void each_task(const Work &work) const {
    parallel_for(threads, fold.tasks.count(), [&](size_t task, uint32_t) {
      const FoldTask part = fold.tasks.at(task);
      work(part, fold.tensor(part.tensor));
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

  void write_lanes(const FoldTask &task, FoldSpace *space) const {
    const Tensor tensor = fold.tensor(task.tensor);
    const LaneMaker maker(fold, task.tensor, task.head, space);
    const LaneCopy lanes = lanes_of(task.tensor);
    for (size_t j = task.from; j < task.to; j++) {
      if (j == task.from + (task.to - task.from) / 2 && !gate.pass()) return;
      if (fold.staged) staged_lane(task.tensor, task.head, j, space->stage);
      else maker.make(j, space->stage);
      lanes.write(task.head * tensor.dim + j, space->stage);
    }
  }

  /// Writes tasks [begin, end). A thread takes its next task before it is done with one, so that memory does not wait
  /// between the two; but nobody who is at one of the last, which are for whoever is done first.
  void write(size_t begin, size_t end) const {
    const size_t last_ones = end - std::min<size_t>(end - begin, threads);
    std::atomic<size_t> next{begin};
    parallel_for(threads, std::min<size_t>(threads, end - begin), [&](size_t, uint32_t worker) {
      RowPipeline pipeline(&fold.spaces[worker]);
      std::optional<RowWriter> writers[2];  // of a task and of the one after it, in turns
      for (size_t turn = 0, after = end;; turn ^= 1) {
        size_t task = after;
        if (task == end) {
          task = next.fetch_add(1);
          if (task >= end) break;
          open(task, &pipeline, &writers[turn]);
        }
        after = std::min(end, task < last_ones ? next.fetch_add(1) : end);
        if (after < end) open(after, &pipeline, &writers[turn ^ 1]);
        write(task, &writers[turn], after < end ? &writers[turn ^ 1] : nullptr, &pipeline);
      }
      pipeline.outbox.flush();
      Copy{fold.streaming}.finish();
    });
  }

 private:
  /// Nobody for a transposed tensor.
  void open(size_t index, RowPipeline *pipeline, std::optional<RowWriter> *writer) const {
    const FoldTask task = fold.tasks.at(index);
    const RowCopy rows = rows_of(task.tensor);
    if (rows.tensor.transposed) writer->reset();
    else writer->emplace(fold, rows, task, pipeline, &gate);
  }

  /// `after` (optional): who writes next.
  void write(size_t index, std::optional<RowWriter> *writer, std::optional<RowWriter> *after, RowPipeline *pipeline) const {
    if (!gate.pass()) return;
    if (*writer) {
      (*writer)->write(after != nullptr && *after ? &**after : nullptr);
    } else {
      pipeline->outbox.flush();  // lanes are made in the same stage
      write_lanes(fold.tasks.at(index), pipeline->space);
    }
    gate.pass();
  }
};

}  // namespace

kvfold_status Fold::save(const kvfold_options *options, kvfold_error *error) {
  if (saved) return KVFOLD_OK;
  FaultGate gate(options);
  const Step step(this, options, &gate);
  touch_pages(step.threads, &undo);
  step.each_task([&](const FoldTask &task, const Tensor &of) { step.save(task, of); });
  if (!gate.pass()) return gate.fail_at("while the old rows were saved", error);
  saved = true;
  return KVFOLD_OK;
}

kvfold_status Fold::commit(const kvfold_options *options, kvfold_error *error) {
  if (kvfold_status status = save(options, error)) return status;
  FaultGate gate(options);
  const Step step(this, options, &gate);
  if (!staged) step.write(0, tasks.count());
  for (uint32_t i = 0; i < tensors.size() && staged && !gate.stopped(); i++) {
    table.fill(recipe(i), tensor(i));
    step.write(tasks.begin(i), tasks.end(i));
  }
  return gate.stopped() ? gate.fail_at("while the new rows were written", error) : KVFOLD_OK;
}

void Fold::rollback(const kvfold_options *options) {
  if (!saved) return;  // nothing has been written
  kvfold_options plain = *options;
  plain.faults = nullptr;
  FaultGate gate(&plain);
  const Step step(this, &plain, &gate);
  step.each_task([&](const FoldTask &task, const Tensor &of) { step.restore(task, of); });
}

}  // namespace cpu
}  // namespace kvfold

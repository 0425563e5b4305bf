// New rows of one task: block after block of rows, each of batches as large as a kernel can take.
#include "cpu/row_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kvfold {
namespace cpu {

/// Of a block: rows of the first batch.
constexpr size_t kFirstShare = 16;
/// Rows made one by one: how far ahead their cells are asked for.
constexpr size_t kRowsAhead = 4;

uint8_t *Outbox::next_stage() {
  turn_ ^= 1;
  uint8_t *stage = stage_ + turn_ * half_;
  if (waiting_.bytes != 0 && waiting_.from >= stage && waiting_.from < stage + half_) flush();
  return stage;
}

void Outbox::post(const RowCopy &rows, size_t begin, size_t end, const uint8_t *bytes) {
  if (begin == end) return;
  flush();
  if (rows.copy.streaming && rows.is_run(begin, end))
    waiting_ = {rows.destination(begin), bytes, (end - begin) * rows.tensor.row_bytes};
  else rows.write(begin, end, bytes);
}

Stream Outbox::take() {
  return std::exchange(waiting_, {nullptr, nullptr, 0});
}

void Outbox::flush() {
  const Stream stream = take();
  if (stream.bytes != 0) kernels().stream(stream.to, stream.from, stream.bytes);
}

RowWriter::RowWriter(const Fold &fold, const RowCopy &rows, const FoldTask &task, RowPipeline *pipeline, FaultGate *gate)
    : fold_(fold), rows_(rows), task_(task), pipeline_(*pipeline), gate_(gate),
      maker_(fold, task.tensor, RowMaker::From::log), block_(block_rows()), most_(block_) {}

/// At most kBatchBytes of cells and what a stage holds, and whole cache lines where that can be.
size_t RowWriter::block_rows() const {
  const size_t bytes = rows_.tensor.row_bytes, room = std::max<size_t>(1, pipeline_.space->stage_bytes / 2 / bytes);
  size_t lines = 64;  // rows after which a line begins again
  while (lines > 1 && lines / 2 * bytes % 64 == 0) lines /= 2;
  const size_t wanted = FoldSpace::kBatchBytes / std::max<size_t>(1, maker_.source_bytes());
  const size_t most = std::min(room, std::max<size_t>(1, wanted));
  if (most < lines) return lines <= std::min(room, 2 * most) ? lines : most;
  return most / lines * lines;
}

void RowWriter::gather(size_t from, RowBatch *batch) {
  const size_t end = std::min(task_.to, (from / block_ + 1) * block_);
  maker_.gather(from, std::min(end, from + most_), batch);
  most_ = std::min(2 * most_, block_);
}

void RowWriter::gather_next(RowWriter *after) {
  if (pipeline_.now->end < task_.to || after == nullptr) return gather(pipeline_.now->end, pipeline_.next);
  after->gather(after->task_.from, pipeline_.next);
  pipeline_.next_task_gathered = true;
}

/// A row that the batches leave out stays where it is, or is made at length.
void RowWriter::make_block(size_t from, size_t to, RowWriter *after) {
  const size_t bytes = rows_.tensor.row_bytes;
  uint8_t *stage = pipeline_.outbox.next_stage();
  size_t begin = from;  // of rows that have been made and not been posted
  for (size_t row = from; row < to;) {
    if (!pipeline_.now->empty()) {
      gather_next(after);
      kernels().make(rows_.tensor.type, pipeline_.now->list(), pipeline_.next->places(), pipeline_.outbox.take(),
                     maker_.piece_channels(), stage + (row - from) * bytes);
      row = pipeline_.now->end;
      std::swap(pipeline_.now, pipeline_.next);
      continue;
    }
    if (maker_.keeps(row)) {
      pipeline_.outbox.post(rows_, begin, row, stage + (begin - from) * bytes);
      begin = row + 1;
    } else {
      maker_.prefetch_row(std::min(row + kRowsAhead, task_.to - 1));
      maker_.make_row(row, pipeline_.space, stage + (row - from) * bytes);
    }
    gather(++row, pipeline_.now);
  }
  pipeline_.outbox.post(rows_, begin, to, stage + (begin - from) * bytes);
}

/// Rows that wait in scratch, or are copies.
void RowWriter::copy_staged(size_t from, size_t to) {
  const size_t bytes = rows_.tensor.slice_bytes;
  uint8_t *stage = pipeline_.outbox.next_stage(), *out = stage;
  for (size_t row = from; row < to; row++) {
    for (size_t head = 0; head < rows_.tensor.heads; head++, out += bytes) {
      const uint32_t entry = fold_.table.entry(head, row), at = SliceTable::index(entry);
      const uint8_t *slice = fold_.tensors[task_.tensor].scratch.data() + at * bytes;
      if (!SliceTable::is_computed(entry))
        slice = maker_.slice(static_cast<size_t>(maker_.copied_cell(row, head)), head);
      std::memcpy(out, slice, bytes);
    }
  }
  pipeline_.outbox.post(rows_, from, to, stage);
}

void RowWriter::begin() {
  if (std::exchange(pipeline_.next_task_gathered, false)) return;
  most_ = block_ / kFirstShare + 1;  // nothing has asked for them: memory should not wait long for the next ones
  gather(task_.from, pipeline_.now);
}

void RowWriter::write(RowWriter *after) {
  const size_t middle = task_.from + (task_.to - task_.from) / 2;
  bool passed = false;
  if (!fold_.staged) begin();
  for (size_t from = task_.from, to = from; from < task_.to; from = to) {
    if (!passed && from >= middle) {
      if (!gate_->pass()) return;
      passed = true;
    }
    to = std::min(task_.to, (from / block_ + 1) * block_);
    if (fold_.staged) copy_staged(from, to);
    else make_block(from, to, after);
  }
  if (!passed) gate_->pass();
}

}  // namespace cpu
}  // namespace kvfold

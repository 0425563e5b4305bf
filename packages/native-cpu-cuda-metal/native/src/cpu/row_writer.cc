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

void Outbox::post(size_t begin, size_t end, const uint8_t *bytes) {
  if (begin == end) return;
  flush();
  if (rows_.copy.streaming && rows_.is_run(begin, end))
    waiting_ = {rows_.destination(begin), bytes, (end - begin) * rows_.tensor.row_bytes};
  else rows_.write(begin, end, bytes);
}

Stream Outbox::take() {
  return std::exchange(waiting_, {nullptr, nullptr, 0});
}

void Outbox::flush() {
  const Stream stream = take();
  if (stream.bytes != 0) kernels().stream(stream.to, stream.from, stream.bytes);
}

RowWriter::RowWriter(const Fold &fold, const RowCopy &rows, const FoldTask &task, FoldSpace *space, FaultGate *gate)
    : fold_(fold), rows_(rows), task_(task), space_(space), gate_(gate),
      maker_(fold, task.tensor, RowMaker::From::log), block_(block_rows()), most_(block_ / kFirstShare + 1),
      outbox_(rows_, space), now_(&space->batches[0]), next_(&space->batches[1]) {}

/// At most kBatchBytes of cells and what a stage holds, and whole cache lines where that can be.
size_t RowWriter::block_rows() const {
  const size_t bytes = rows_.tensor.row_bytes, room = std::max<size_t>(1, space_->stage.size() / 2 / bytes);
  size_t lines = 64;  // rows after which a line begins again
  while (lines > 1 && lines / 2 * bytes % 64 == 0) lines /= 2;
  const size_t wanted = FoldSpace::kBatchBytes / std::max<size_t>(1, maker_.source_bytes());
  const size_t most = std::min(room, std::max<size_t>(1, wanted));
  if (most < lines) return lines <= std::min(room, 2 * most) ? lines : most;
  return most / lines * lines;
}

/// Nothing has asked for the first rows of a task: short batches, so that memory does not wait long for the next ones.
void RowWriter::gather(size_t from, RowBatch *batch) {
  const size_t end = std::min(task_.to, (from / block_ + 1) * block_);
  maker_.gather(from, std::min(end, from + most_), batch);
  most_ = std::min(2 * most_, block_);
}

/// A row that the batches leave out stays where it is, or is made at length.
void RowWriter::make_block(size_t from, size_t to) {
  const size_t bytes = rows_.tensor.row_bytes;
  uint8_t *stage = outbox_.next_stage();
  size_t begin = from;  // of rows that have been made and not been posted
  for (size_t row = from; row < to;) {
    if (!now_->empty()) {
      gather(now_->end, next_);
      kernels().make(rows_.tensor.type, now_->list(), next_->places(maker_.piece_bytes()), outbox_.take(),
                     maker_.piece_channels(), stage + (row - from) * bytes);
      row = now_->end;
      std::swap(now_, next_);
      continue;
    }
    if (maker_.keeps(row)) {
      outbox_.post(begin, row, stage + (begin - from) * bytes);
      begin = row + 1;
    } else {
      maker_.prefetch_row(std::min(row + kRowsAhead, task_.to - 1));
      maker_.make_row(row, space_, stage + (row - from) * bytes);
    }
    gather(++row, now_);
  }
  outbox_.post(begin, to, stage + (begin - from) * bytes);
}

/// Rows that wait in scratch, or are copies.
void RowWriter::copy_staged(size_t from, size_t to) {
  const size_t bytes = rows_.tensor.slice_bytes;
  uint8_t *stage = outbox_.next_stage(), *out = stage;
  for (size_t row = from; row < to; row++) {
    for (size_t head = 0; head < rows_.tensor.heads; head++, out += bytes) {
      const uint32_t entry = fold_.table.entry(head, row), at = SliceTable::index(entry);
      const uint8_t *slice = fold_.tensors[task_.tensor].scratch.data() + at * bytes;
      if (!SliceTable::is_computed(entry))
        slice = maker_.slice(static_cast<size_t>(maker_.copied_cell(row, head)), head);
      std::memcpy(out, slice, bytes);
    }
  }
  outbox_.post(from, to, stage);
}

void RowWriter::write() {
  const size_t middle = task_.from + (task_.to - task_.from) / 2;
  bool passed = false;
  if (!fold_.staged) gather(task_.from, now_);
  for (size_t from = task_.from, to = from; from < task_.to; from = to) {
    if (!passed && from >= middle) {
      if (!gate_->pass()) return;
      passed = true;
    }
    to = std::min(task_.to, (from / block_ + 1) * block_);
    if (fold_.staged) copy_staged(from, to);
    else make_block(from, to);
  }
  outbox_.flush();
  if (!passed) gate_->pass();
}

}  // namespace cpu
}  // namespace kvfold

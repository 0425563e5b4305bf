// New rows of one task of a commit, from the cells they are made of to the cells that stay.
#ifndef KVFOLD_CPU_ROW_WRITER_H
#define KVFOLD_CPU_ROW_WRITER_H

#include "cpu/row_copy.h"
#include "cpu/row_maker.h"

namespace kvfold {
namespace cpu {

/// Two stages in the nearest cache: rows are made in one while those in the other are on their way. So whole lines are
/// written, and memory is read and written at once: one after the other takes nearly twice as long.
class Outbox {
 public:
  explicit Outbox(const FoldSpace &space) : stage_(space.stage), half_(space.stage_bytes / 2) {}

  /// Another stage than that of the rows that wait.
  uint8_t *next_stage();
  /// Rows [begin, end), which lie at `bytes` in a stage.
  void post(const RowCopy &rows, size_t begin, size_t end, const uint8_t *bytes);
  /// Hands over the rows that wait.
  Stream take();
  void flush();

 private:
  uint8_t *stage_;
  const size_t half_;
  size_t turn_ = 0;
  Stream waiting_{nullptr, nullptr, 0};
};

/// What passes from one task of a thread to its next.
struct RowPipeline {
  explicit RowPipeline(FoldSpace *of) : space(of), outbox(*of), now(&of->batches[0]), next(&of->batches[1]) {}

  FoldSpace *space;
  Outbox outbox;
  RowBatch *now, *next;  // the rows that are made, and those that are made next
  bool next_task_gathered = false;
};

/// New rows of one task.
class RowWriter {
 public:
  RowWriter(const Fold &fold, const RowCopy &rows, const FoldTask &task, RowPipeline *pipeline, FaultGate *gate);

  /// Stops in the middle when the gate says so; the last rows may wait in the outbox. `after` (optional): who writes
  /// next in the same pipeline; its first rows are asked for while the last ones are made here.
  void write(RowWriter *after);

 private:
  size_t block_rows() const;
  void begin();
  void gather(size_t from, RowBatch *batch);
  void gather_next(RowWriter *after);
  void make_block(size_t from, size_t to, RowWriter *after);
  void copy_staged(size_t from, size_t to);

  const Fold &fold_;
  const RowCopy rows_;
  const FoldTask task_;
  RowPipeline &pipeline_;
  FaultGate *gate_;
  const RowMaker maker_;
  const size_t block_;
  size_t most_;  // rows of the next batch
};

}  // namespace cpu
}  // namespace kvfold

#endif

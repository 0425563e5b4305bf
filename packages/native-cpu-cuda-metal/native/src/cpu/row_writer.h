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
  Outbox(const RowCopy &rows, FoldSpace *space) : rows_(rows), stage_(space->stage.data()), half_(space->stage.size() / 2) {}

  /// Another stage than that of the rows that wait.
  uint8_t *next_stage();
  /// Rows [begin, end), which lie at `bytes` in a stage.
  void post(size_t begin, size_t end, const uint8_t *bytes);
  /// Hands over the rows that wait.
  Stream take();
  void flush();

 private:
  const RowCopy &rows_;
  uint8_t *stage_;
  const size_t half_;
  size_t turn_ = 0;
  Stream waiting_{nullptr, nullptr, 0};
};

class RowWriter {
 public:
  RowWriter(const Fold &fold, const RowCopy &rows, const FoldTask &task, FoldSpace *space, FaultGate *gate);

  /// Stops in the middle when the gate says so.
  void write();

 private:
  size_t block_rows() const;
  void gather(size_t from, RowBatch *batch);
  void make_block(size_t from, size_t to);
  void copy_staged(size_t from, size_t to);

  const Fold &fold_;
  const RowCopy rows_;
  const FoldTask task_;
  FoldSpace *space_;
  FaultGate *gate_;
  const RowMaker maker_;
  const size_t block_;
  size_t most_;  // rows of the next batch
  Outbox outbox_;
  RowBatch *now_, *next_;
};

}  // namespace cpu
}  // namespace kvfold

#endif

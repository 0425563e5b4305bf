// New rows of one tensor from the cells they are made of.
#ifndef KVFOLD_CPU_ROW_MAKER_H
#define KVFOLD_CPU_ROW_MAKER_H

#include "cpu/fold.h"

namespace kvfold {
namespace cpu {

/// A row layout tensor of a fold. Every slice is made by one thread from start to end, with sums in the order of the
/// members, so the bits do not depend on how many threads there are.
///
/// Where all heads of a row are made alike, they are one segment: a copy of the row, or one sum over its width.
class RowMaker {
 public:
  /// Where cells are read: as long as nothing has been written in their slots, later from the undo log if their slots
  /// are overwritten.
  enum class From { slots, log };

  RowMaker(const Fold &fold, uint32_t index, From from);

  /// Looks up rows from `from` on, as far as `to` or as the batch has room; stops at a row that stays where it is, and at
  /// one that only make_row() makes: of turned keys, or of very many members.
  void gather(size_t from, size_t to, RowBatch *batch) const;
  /// Channels of a piece of a batch.
  size_t piece_channels() const { return uniform_ ? size_t{tensor_.heads} * tensor_.dim : tensor_.dim; }
  /// Asks for the cells of a row.
  void prefetch_row(size_t row) const;
  /// out: [row bytes]
  void make_row(size_t row, FoldSpace *space, uint8_t *out) const;
  /// out: [slice bytes]
  void make_slice(size_t row, size_t head, FoldSpace *space, uint8_t *out) const { make(row, head, 1, space, out); }
  /// Whether the row stays what and where it is; need not find every such row.
  bool keeps(size_t row) const;
  /// Bytes of a head of a cell.
  const uint8_t *slice(size_t cell, size_t head) const;
  /// Bytes that a row is made of, on average.
  size_t source_bytes() const;
  const Tensor &tensor() const { return tensor_; }
  int64_t copied_cell(size_t row, size_t head) const { return recipe_.copied_cell(row, head); }

 private:
  /// Bytes of a row at a place of the fold.
  const uint8_t *at(uint32_t place) const {
    return ((place & Fold::kLogged) == 0 ? tensor_.data : log_) + size_t{place & ~Fold::kLogged} * tensor_.row_bytes;
  }
  void gather_composite(size_t to, RowBatch *into) const;
  void gather_plain(size_t to, RowBatch *into) const;
  size_t plain_end(size_t from, size_t to) const;
  void gather_sums(size_t to, RowBatch *into) const;
  bool turned(size_t row, size_t head) const;
  bool turned_anywhere(size_t row, size_t heads) const;
  void make(size_t row, size_t head, size_t heads, FoldSpace *space, uint8_t *out) const;
  void make_at_length(size_t row, size_t head, bool turned, FoldSpace *space, uint8_t *out) const;
  size_t composite_cell(size_t row, size_t head) const;

  const Fold &fold_;
  const Recipe recipe_;
  const Tensor tensor_;
  const kvfold_memory_layer &layer_;
  const uint32_t *place_;  // [cells]
  const uint8_t *log_;
  bool turns_;    // keys that may move to other positions
  bool uniform_;  // all heads alike
  bool plain_;    // and every member counts, unturned
};

}  // namespace cpu
}  // namespace kvfold

#endif

// Which slices of a tensor a plan copies and which it computes.
#ifndef KVFOLD_CPU_SLICES_H
#define KVFOLD_CPU_SLICES_H

#include <cstddef>
#include <cstdint>

#include "common/scratch.h"
#include "common/tensor.h"
#include "kvfold/fold.h"

namespace kvfold {
namespace cpu {

/// Plan and target of one fold, and what a slice of it is made of.
struct Recipe {
  const kvfold_target *target;
  const kvfold_plan *plan;
  size_t max_heads;
  uint32_t layer;
  uint32_t kind;

  /// The cell whose bytes the slice (row, head) is, or -1 when the slice has to be computed. A slice is a copy when one
  /// member has weight 1, all others 0, and its key stays where it was rotated.
  int64_t copied_cell(size_t row, size_t head) const;
  /// Whether the plan solves for this value or gives it: then the slice is in scratch even if it starts as a copy.
  bool is_changed(size_t row, size_t head) const;
  float weight(size_t head, size_t member) const { return weights(head)[member]; }
  /// Weights of a shared plan's members in one head. [members]
  const float *weights(size_t head) const;
  /// By how many positions the key of a cell has to be turned for a row; 0 for values and in the stored frame.
  int64_t turn(size_t row, size_t head, size_t cell) const;
};

/// Entry of the slice table: the physical slot to copy from, or the running number of a computed slice.
///
///     rows      a   [bc]   d   e'        a, d: copies     [bc]: a sum     e': a value of its own
///     entries   #a   0     #d  1         in scratch: 0 1
class SliceTable {
 public:
  static constexpr uint32_t kComputed = 0x80000000u;

  /// For tensors of at most that many heads and rows.
  bool allocate(size_t heads, size_t rows);
  /// Fills the table for one tensor. Computed slices are numbered head by head, then row by row.
  void fill(const Recipe &recipe, const Tensor &tensor);

  uint32_t entry(size_t head, size_t row) const { return entries_[head * rows_ + row]; }
  static bool is_computed(uint32_t entry) { return (entry & kComputed) != 0; }
  static uint32_t index(uint32_t entry) { return entry & ~kComputed; }
  /// Computed slices before a head; of all heads at `heads`.
  uint32_t computed_before(size_t head) const { return begin_[head]; }
  size_t rows() const { return rows_; }

 private:
  Scratch<uint32_t> entries_;  // [heads, rows]
  Scratch<uint32_t> begin_;    // [heads + 1]
  size_t rows_ = 0;
};

}  // namespace cpu
}  // namespace kvfold

#endif

// What one thread of a fold works in; allocated while the fold is prepared, so that a commit allocates nothing.
#ifndef KVFOLD_CPU_FOLD_SPACE_H
#define KVFOLD_CPU_FOLD_SPACE_H

#include "common/scratch.h"
#include "cpu/rope.h"
#include "cpu/row_batch.h"

namespace kvfold {
namespace cpu {

struct FoldSpace {
  static constexpr size_t kStageBytes = 16384;
  /// Of the cells of a batch: several pages, so that memory is asked for at several places, and time for it to answer
  /// while a batch is made; two of them stay in the second cache.
  static constexpr size_t kBatchBytes = 32768;

  Scratch<float> floats;
  float *member = nullptr, *sum = nullptr;  // [dim] each
  Angles angles;
  Scratch<uint8_t> stage;     // new rows on their way to the cache
  Scratch<RowBatch> batches;  // the rows that are made and those that are made next

  // One head of a transposed tensor: its sums in CSR form, and its copies.
  Scratch<uint32_t> offsets;            // [rows + 1]; empty for copies
  Scratch<uint32_t> slots;              // [members]
  Scratch<float> weights;               // [members]
  Scratch<uint32_t> copy_row, copy_slot;  // [rows]
  size_t copies = 0;

  bool allocate(size_t dim, size_t stage_bytes) {
    const size_t pairs = dim / 2;
    if (!floats.allocate(2 * dim + Angles::kKept * 2 * pairs) || !stage.allocate(stage_bytes) ||
        !batches.allocate(2))
      return false;
    member = floats.data();
    sum = member + dim;
    angles.bind(sum + dim, pairs);
    return true;
  }
  bool allocate_lane(size_t rows, size_t members) {
    return offsets.allocate(rows + 1) && slots.allocate(members) && weights.allocate(members) &&
           copy_row.allocate(rows) && copy_slot.allocate(rows);
  }
};

}  // namespace cpu
}  // namespace kvfold

#endif

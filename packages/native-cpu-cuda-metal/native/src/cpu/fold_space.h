// What the threads of a fold work in; allocated while the fold is prepared, so that a commit allocates nothing.
#ifndef KVFOLD_CPU_FOLD_SPACE_H
#define KVFOLD_CPU_FOLD_SPACE_H

#include <algorithm>
#include <memory>
#include <new>

#include "common/scratch.h"
#include "cpu/rope.h"
#include "cpu/row_batch.h"

namespace kvfold {
namespace cpu {

/// Of one thread.
struct FoldSpace {
  static constexpr size_t kStageBytes = 16384;
  /// Of the cells of a batch: several pages, so that memory is asked for at several places, and time for it to answer
  /// while a batch is made; two of them stay in the second cache.
  static constexpr size_t kBatchBytes = 32768;

  float *member = nullptr, *sum = nullptr;  // [dim] each
  Angles angles;
  uint8_t *stage = nullptr;  // new rows on their way to the cache
  size_t stage_bytes = 0;
  RowBatch *batches = nullptr;  // [2] the rows that are made and those that are made next

  // One head of a transposed tensor: its sums in CSR form, and its copies.
  Scratch<uint32_t> offsets;            // [rows + 1]; empty for copies
  Scratch<uint32_t> slots;              // [members]
  Scratch<float> weights;               // [members]
  Scratch<uint32_t> copy_row, copy_slot;  // [rows]
  size_t copies = 0;

  bool allocate_lane(size_t rows, size_t members) {
    return offsets.allocate(rows + 1) && slots.allocate(members) && weights.allocate(members) &&
           copy_row.allocate(rows) && copy_slot.allocate(rows);
  }
};

/// Of all threads: few allocations, as a short fold is over in the time of some hundred.
class FoldSpaces {
 public:
  /// `dim` channels of a head and `stage_bytes` at least. False if there is no memory.
  bool allocate(uint32_t threads, size_t dim, size_t stage_bytes) {
    const size_t pairs = dim / 2, floats = lines(sizeof(float) * (2 * dim + Angles::kKept * 2 * pairs));
    const size_t stage = lines(std::max(stage_bytes, FoldSpace::kStageBytes));
    size_t all_floats = 0, all_stages = 0;
    if (!multiply(threads, floats, &all_floats) || !multiply(threads, stage, &all_stages)) return false;
    if (!floats_.allocate(all_floats) || !stages_.allocate(all_stages) || !batches_.allocate(size_t{2} * threads))
      return false;
    spaces_.reset(new (std::nothrow) FoldSpace[threads]);
    if (!spaces_) return false;
    count_ = threads;
    for (uint32_t i = 0; i < threads; i++) {
      FoldSpace &space = spaces_[i];
      space.member = reinterpret_cast<float *>(floats_.data() + i * floats);
      space.sum = space.member + dim;
      space.angles.bind(space.sum + dim, pairs);
      space.stage = stages_[i * stage].bytes;
      space.stage_bytes = stage * sizeof(Line);
      space.batches = batches_.data() + size_t{2} * i;
    }
    return true;
  }
  bool allocate_lanes(size_t rows, size_t members) {
    return std::all_of(spaces_.get(), spaces_.get() + count_,
                       [&](FoldSpace &space) { return space.allocate_lane(rows, members); });
  }
  uint32_t count() const { return count_; }
  FoldSpace &operator[](uint32_t thread) const { return spaces_[thread]; }

 private:
  /// No two threads write to one of them.
  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  static size_t lines(size_t bytes) { return (bytes + sizeof(Line) - 1) / sizeof(Line); }

  std::unique_ptr<FoldSpace[]> spaces_;
  uint32_t count_ = 0;
  Scratch<Line> floats_, stages_;
  Scratch<RowBatch> batches_;
};

}  // namespace cpu
}  // namespace kvfold

#endif

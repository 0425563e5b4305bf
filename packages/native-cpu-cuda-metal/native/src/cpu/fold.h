// A fold on the CPU: what it holds, and the entries of the backend's table (kvfold/backend.h).
#ifndef KVFOLD_CPU_FOLD_H
#define KVFOLD_CPU_FOLD_H

#include <vector>

#include "common/pages.h"
#include "common/scratch.h"
#include "cpu/change.h"
#include "cpu/fold_space.h"
#include "cpu/fold_tasks.h"
#include "cpu/member_table.h"
#include "cpu/slices.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace cpu {

/// What one tensor of a fold needs.
///
///     undo      rows: [rows, row bytes]                transposed: [channels, rows]
///     scratch   rows: computed slices by number        transposed: per head [channels, its computed slices]
struct TensorWork {
  uint8_t *undo = nullptr;   // inside the undo log of the fold
  Scratch<uint8_t> scratch;  // of a staged fold only
};

/// Plan and target belong to the caller, who keeps them until fold_free.
///
/// Most folds hold no new rows: a commit makes them from the cells straight into the cells that stay. Only where values
/// are solved for or given, rows are staged: made in scratch while the fold is prepared, so that they can be changed.
struct Fold final : Change {
  static constexpr uint32_t kNotWritten = 0xffffffffu;
  static constexpr uint32_t kLogged = 0x80000000u;

  const kvfold_target *target;
  const kvfold_plan *plan;
  bool staged = false;
  bool saved = false;               // the undo log holds every destination row
  bool streaming = false;           // more is written than caches should hold
  FoldTasks tasks;
  Pages undo{Pages::Use::kReused};  // of all tensors
  std::vector<TensorWork> tensors;  // [layers, keys then values]
  Scratch<uint32_t> row_of_slot;    // [capacity] row that overwrites a slot, or kNotWritten
  Scratch<uint32_t> place;          // [cells] slot of a cell, or kLogged and the row of the undo log where it is
  MemberTable members;              // of a shared plan
  FoldSpaces spaces;
  // staged folds only
  SliceTable table;      // of the tensor at hand
  SliceTable key_table;  // while a layer is fitted
  std::vector<kvfold_fit_outcome> fits;
  uint64_t held_bytes = 0, working_bytes = 0;

  Tensor tensor(uint32_t index) const { return tensor_of(*target->memory, index / 2, index % 2); }
  uint32_t destination(size_t row) const { return target->destinations.data[row]; }
  Recipe recipe(uint32_t index) const {
    return {target, plan, most_heads(*target->memory), index / 2, index % 2};
  }

  kvfold_status save(const kvfold_options *options, kvfold_error *error) override;
  kvfold_status commit(const kvfold_options *options, kvfold_error *error) override;
  void rollback(const kvfold_options *options) override;
  kvfold_fold_report report() const override;
};

/// Staged folds: fills the scratch of a tensor with its computed slices; `fold.table` has been filled for it.
kvfold_status compute_slices(const Fold &fold, uint32_t index, const kvfold_options *options, kvfold_error *error);

kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error);
kvfold_status fold_prepare(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                           kvfold_fold **out, kvfold_error *error);
kvfold_status rope_prepare(const kvfold_rope *rope, const kvfold_options *options, kvfold_fold **out,
                           kvfold_error *error);
kvfold_status read_rows(const kvfold_read *read, const kvfold_options *options, float *out, kvfold_error *error);
kvfold_status key_stats(const kvfold_read *read, const kvfold_options *options, float *norm, float *mean_cosine,
                        kvfold_error *error);
kvfold_status turn_queries(const kvfold_turn *turn, const kvfold_options *options, float *out, kvfold_error *error);
kvfold_status attend(const kvfold_attention *attention, const kvfold_options *options,
                     kvfold_attention_result *result, kvfold_error *error);

extern const kvfold_backend kBackend;

}  // namespace cpu
}  // namespace kvfold

#endif

// A fold on the CPU: scratch, undo log, and the entries of the backend's table (kvfold/backend.h).
#ifndef KVFOLD_CPU_FOLD_H
#define KVFOLD_CPU_FOLD_H

#include <vector>

#include "common/scratch.h"
#include "cpu/slices.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace cpu {

/// What one tensor of a fold needs. The undo log is also where a commit reads source slices from whose cells it
/// overwrites, so that slices can be written in any order, by any thread, for any permutation of slots.
///
///     scratch   rows: computed slices by number        transposed: per head [channels, its computed slices]
///     undo      rows: [rows, row bytes]                transposed: [channels, rows]
struct TensorWork {
  Scratch<uint8_t> scratch;
  Scratch<uint8_t> undo;
  bool saved = false;  // the undo log holds every destination row
};

/// Plan and target belong to the caller, who keeps them until fold_free.
struct Fold {
  static constexpr uint32_t kNotWritten = 0xffffffffu;

  const kvfold_target *target;
  const kvfold_plan *plan;
  std::vector<TensorWork> tensors;  // [layers, keys then values]
  SliceTable table;                 // of the tensor at hand
  SliceTable key_table;             // while a layer is fitted
  std::vector<kvfold_fit_outcome> fits;
  uint64_t held_bytes = 0, working_bytes = 0;
  Scratch<uint32_t> row_of_slot;    // [capacity] row that overwrites a slot, or kNotWritten

  Tensor tensor(uint32_t index) const { return tensor_of(*target->memory, index / 2, index % 2); }
  uint32_t destination(size_t row) const { return target->destinations.data[row]; }
  Recipe recipe(uint32_t index) const {
    return {target, plan, most_heads(*target->memory), index / 2, index % 2};
  }
};

/// Fills `work->scratch` with the computed slices of a tensor; `table` has been filled for it.
kvfold_status compute_slices(const Fold &fold, uint32_t index, TensorWork *work, const kvfold_options *options,
                             kvfold_error *error);

kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error);
kvfold_status fold_prepare(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                           kvfold_fold **out, kvfold_error *error);
kvfold_status fold_commit(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
kvfold_status fold_rollback(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
void fold_free(kvfold_fold *fold);
kvfold_fold_report fold_report(const kvfold_fold *fold);
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

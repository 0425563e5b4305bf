// A fold on the GPU: scratch, undo log, and the entries of the backend's table (kvfold/backend.h).
#ifndef KVFOLD_METAL_FOLD_H
#define KVFOLD_METAL_FOLD_H

#include <vector>

#include "cpu/change.h"
#include "cpu/slices.h"
#include "kvfold/backend.h"
#include "metal/cache.h"

namespace kvfold {
namespace metal {

using cpu::Recipe;
using cpu::SliceTable;

/// What one tensor of a fold needs until fold_free.
///
///     scratch   rows: computed slices by number        transposed: per head [channels, its computed slices]
///     undo      rows: [rows, row bytes]                transposed: [channels, rows]
///     table     the entries of its SliceTable [heads, rows], then computed slices before each head [heads + 1]
struct TensorWork {
  CacheBuffer cache;
  Buffer scratch, undo, table;
};

/// Plan and target belong to the caller, who keeps them until fold_free.
struct Fold final : cpu::Change {
  const kvfold_target *target = nullptr;
  const kvfold_plan *plan = nullptr;
  std::vector<TensorWork> tensors;  // [layers, keys then values]
  SliceTable table, key_table;      // of the layer at hand
  std::vector<kvfold_fit_outcome> fits;
  uint64_t held_bytes = 0, working_bytes = 0;
  Buffer destinations, row_of_slot;  // [rows], [capacity] with kNone where no row is written
  bool saved = false;                // the undo log holds every destination row

  Tensor tensor(uint32_t index) const { return tensor_of(*target->memory, index / 2, index % 2); }
  Recipe recipe(uint32_t index) const { return {target, plan, most_heads(*target->memory), index / 2, index % 2}; }

  kvfold_status save(const kvfold_options *options, kvfold_error *error) override;
  kvfold_status commit(const kvfold_options *options, kvfold_error *error) override;
  void rollback(const kvfold_options *options) override;
  kvfold_fold_report report() const override {
    return {fits.empty() ? nullptr : fits.data(), fits.size(), held_bytes, working_bytes};
  }
};

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

}  // namespace metal
}  // namespace kvfold

#endif

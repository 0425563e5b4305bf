// A prepared fold on one or more devices: tables, undo log, and the entries of the backend's table.
#ifndef KVFOLD_CUDA_FOLD_H
#define KVFOLD_CUDA_FOLD_H

#include <memory>
#include <vector>

#include "cuda/change.h"
#include "cuda/device.h"
#include "cuda/tables.h"

namespace kvfold {
namespace cuda {

/// Tensors that one launch covers, by their number in the part. `ids` lie on the device.
struct Group {
  const uint32_t *ids;
  std::vector<uint32_t> members;
};

/// The layers of a fold that lie on one device. Nothing here is computed at commit but sums of members; all memory is
/// reserved by prepare.
struct Part {
  Device *device = nullptr;
  std::vector<uint32_t> tensors;     ///< 2 * layer + kind, ascending
  std::vector<TensorTable> tables;   ///< host copy
  PlanTable plan{};
  Buffer<uint8_t> packed;            ///< what PlanTable and the tensors point at
  Buffer<uint8_t> log, stored;
  Buffer<uint32_t> entries, stored_index, ids;
  Buffer<TensorTable> table;
  std::vector<uint32_t> stored_host;  ///< [value tensors][heads, rows]
  Group moves[2], copies[2], sums, turns;  ///< [row layout, transposed]
  std::vector<uint8_t> saved;        ///< tensors whose destination rows are all in the log
};

struct Fold final : Change {
  const kvfold_target *target = nullptr;
  const kvfold_plan *plan = nullptr;
  std::vector<uint32_t> written;        ///< rows whose bytes may change
  std::vector<std::unique_ptr<Part>> parts;
  std::vector<kvfold_fit_outcome> fits;
  uint64_t held_bytes = 0, working_bytes = 0;
  float save_milliseconds = 0, write_milliseconds = 0;  ///< of the last commit, when timed

  Tensor tensor(uint32_t index) const { return tensor_of(*target->memory, index / 2, index % 2); }

  kvfold_status save(kvfold_error *error) override;
  kvfold_status commit(const kvfold_options *options, kvfold_error *error) override;
  kvfold_status rollback(kvfold_error *error) override;
  kvfold_fold_report report() const override;

 private:
  kvfold_status commit_timed(kvfold_error *error);
  kvfold_status wait_all(kvfold_status status, kvfold_error *error) const;
};

/// For benchmarks: events around the two halves of later commits, on the first device.
void time_commits(bool on);

/// Rows whose bytes may change: all but those that are known to hold them already.
std::vector<uint32_t> written_rows(const kvfold_target &target, const kvfold_plan &plan);
/// Uploads the plan and lays out the tensors of a part; then their entries, once changed values are known.
kvfold_status build_tables(Fold *fold, Part *part, kvfold_error *error);
kvfold_status build_entries(Fold *fold, Part *part, kvfold_error *error);
/// Values that the plan gives, encoded into the stored slices of the part.
kvfold_status store_given(Fold *fold, Part *part, kvfold_error *error);

kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error);
kvfold_status fold_prepare(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                           kvfold_fold **out, kvfold_error *error);
kvfold_status fold_commit(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
kvfold_status fold_rollback(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
kvfold_status fold_save(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
void fold_free(kvfold_fold *fold);
kvfold_fold_report fold_report(const kvfold_fold *fold);
kvfold_status rope_prepare(const kvfold_rope *rope, const kvfold_options *options, kvfold_fold **out,
                           kvfold_error *error);
kvfold_status read_rows(const kvfold_read *read, const kvfold_options *options, float *out, kvfold_error *error);
kvfold_status key_stats(const kvfold_read *read, const kvfold_options *options, float *norm, float *mean_cosine,
                        kvfold_error *error);
kvfold_status turn_queries(const kvfold_turn *turn, const kvfold_options *options, float *out, kvfold_error *error);
kvfold_status attend(const kvfold_attention *attention, const kvfold_options *options,
                     kvfold_attention_result *result, kvfold_error *error);

}  // namespace cuda
}  // namespace kvfold

#endif

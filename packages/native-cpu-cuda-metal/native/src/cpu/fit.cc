// Values of a fold that are solved for: per head, outputs over all cells, then ridge regression over the new rows.
//
//     cells  k v (as they lie)     + queries after the last cell  ->  outputs O            [query rows, value_dim]
//     rows   k v (as they will)    + queries after the last row   ->  A; free rows solved  ->  scratch
//
// Values stay in the basis of the cache: the solution is the same in every orthogonal basis.
#include "cpu/fit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/error.h"
#include "common/queries.h"
#include "cpu/attend.h"
#include "cpu/new_slices.h"
#include "cpu/pool.h"
#include "cpu/rope.h"

namespace kvfold {
namespace cpu {
namespace {

constexpr size_t kRowsOfTask = 64;

/// Sizes of the fits of one layer.
struct FitShape {
  const Fold &fold;
  uint32_t layer;
  Tensor keys, values;
  uint32_t most_free;
  uint32_t query_rows;
  bool outputs_known;

  FitShape(const Fold &of, uint32_t index)
      : fold(of), layer(index), keys(of.tensor(2 * index)), values(of.tensor(2 * index + 1)), most_free(0),
        query_rows(0), outputs_known(of.target->outputs != nullptr && of.target->outputs[index].length != 0) {
    for (uint32_t h = 0; h < values.heads; h++)
      most_free = std::max(most_free, marked_rows(of.plan->fit->free, *of.target, *of.plan, index, h));
    if (most_free == 0) return;
    const kvfold_turn turn = turn_after(0);
    query_rows = kvfold_turned_rows(&turn);
  }

  kvfold_turn turn_after(int32_t last) const { return turn_of(*fold.target, *fold.plan->fit, layer, last); }
  /// Cells or rows whose keys and values are floats at the same time.
  uint64_t decoded() const { return outputs_known ? fold.plan->rows : fold.target->cells; }

  kvfold_attend_input attend_input() const {
    kvfold_attend_input input{};
    input.rows = query_rows;
    input.cells = fold.target->cells;
    input.key_dim = keys.dim;
    input.value_dim = values.dim;
    input.bias = fold.target->bias;
    return input;
  }
  kvfold_fit_input fit_input() const {
    kvfold_fit_input input{};
    input.rows = query_rows;
    input.kept = fold.plan->rows;
    input.key_dim = keys.dim;
    input.value_dim = values.dim;
    input.bias = fold.plan->bias;
    input.free.length = most_free;
    input.lambda = fold.plan->fit->lambda;
    input.holdout = fold.plan->fit->holdout;
    return input;
  }

  /// A MemoryQuery. At most 2^27 cells of 2^14 channels.
  static kvfold_status memory(const void *context, uint32_t threads, uint64_t *bytes, kvfold_error *error) {
    const FitShape &self = *static_cast<const FitShape *>(context);
    uint64_t attend_bytes = 0, fit_bytes = 0;
    const kvfold_attend_input attend = self.attend_input();
    const kvfold_fit_input fit = self.fit_input();
    kvfold_status status = kvfold_fit_memory(&fit, threads, &fit_bytes, error);
    if (status == KVFOLD_OK && !self.outputs_known)
      status = kvfold_attend_memory(&attend, threads, &attend_bytes, error);
    *bytes = (self.decoded() + self.query_rows) * (uint64_t{self.keys.dim} + self.values.dim) * sizeof(float) +
             std::max(attend_bytes, fit_bytes);
    return status;
  }
};

/// The fits of one layer; buffers are those of one head.
class LayerFit {
 public:
  LayerFit(Fold *fold, const FitShape &shape, const kvfold_options &options, uint32_t threads)
      : fold_(*fold), shape_(shape), options_(options), run_(options, threads),
        keys_{shape.keys, fold->key_table, fold->tensors[2 * shape.layer]},
        values_{shape.values, fold->table, fold->tensors[2 * shape.layer + 1]} {}

  bool allocate() {
    const size_t rows = shape_.query_rows, decoded = static_cast<size_t>(shape_.decoded());
    return queries_.allocate(rows * shape_.keys.dim) && targets_.allocate(rows * shape_.values.dim) &&
           key_rows_.allocate(decoded * shape_.keys.dim) && value_rows_.allocate(decoded * shape_.values.dim);
  }

  kvfold_status fit_head(uint32_t head, kvfold_fit_outcome *outcome, kvfold_error *error) {
    free_.find(*fold_.target, *fold_.plan, shape_.layer, head);
    const double unknown = std::numeric_limits<double>::quiet_NaN();
    *outcome = {shape_.layer, head, unknown, unknown, 0, static_cast<uint32_t>(free_.rows.size())};
    if (free_.rows.empty()) return KVFOLD_OK;
    if (kvfold_status status = find_targets(head, error)) return status;
    const int32_t last_row = fold_.plan->positions.data[fold_.plan->rows - 1];
    if (!turn_heads(shape_.turn_after(last_row), head, head + 1, options_, queries_.data()) || !decode_rows(head))
      return fail_aborted(error);
    kvfold_fit_input input = shape_.fit_input();
    const kvfold_f32_buffer values = {value_rows_.data(), size_t{input.kept} * input.value_dim};
    input.queries = {queries_.data(), queries_.size()};
    input.targets = {targets_.data(), targets_.size()};
    input.keys = {key_rows_.data(), size_t{input.kept} * input.key_dim};
    input.values = {values.data, values.length};
    input.free = {free_.rows.data(), free_.rows.size()};
    input.ridge_factors = free_.told_factors();
    kvfold_fit_report report{};
    if (kvfold_status status = kvfold_fit(&input, run_.options(), values, &report, error)) return status;
    outcome->before = relative(report.judged.before, report.judged.target);
    outcome->accepted = report.accepted != 0 && all_storable() ? 1 : 0;
    outcome->after = outcome->accepted != 0 ? relative(report.judged.after, report.judged.target) : outcome->before;
    if (outcome->accepted == 0) return KVFOLD_OK;
    for (uint32_t row : free_.rows) values_.store(row, head, value_rows_.data() + size_t{row} * shape_.values.dim);
    return KVFOLD_OK;
  }

 private:
  static double relative(double error, double size) {
    if (size > 0) return std::sqrt(error / size);
    return error > 0 ? std::numeric_limits<double>::infinity() : 0;
  }

  /// O: as given, or attended to over all cells with the bias that they have.
  kvfold_status find_targets(uint32_t head, kvfold_error *error) {
    const kvfold_target &target = *fold_.target;
    if (shape_.outputs_known) {
      const float *outputs = target.outputs[shape_.layer].data + head * targets_.size();
      std::copy(outputs, outputs + targets_.size(), targets_.data());
      const size_t dim = shape_.values.dim;
      for (size_t at = 0; at < targets_.size(); at += dim) hadamard(shape_.values.hadamard, targets_.data() + at, dim);
      return KVFOLD_OK;
    }
    const int32_t last_cell = target.positions.data[target.cells - 1];
    if (!turn_heads(shape_.turn_after(last_cell), head, head + 1, options_, queries_.data()) ||
        !decode_head(shape_.keys, target.slots, head, true, options_, key_rows_.data()) ||
        !decode_head(shape_.values, target.slots, head, false, options_, value_rows_.data()))
      return fail_aborted(error);
    kvfold_attend_input input = shape_.attend_input();
    input.queries = {queries_.data(), queries_.size()};
    input.keys = {key_rows_.data(), key_rows_.size()};
    input.values = {value_rows_.data(), value_rows_.size()};
    kvfold_attend_output output{};
    output.outputs = {targets_.data(), targets_.size()};
    return kvfold_attend(&input, run_.options(), &output, error);
  }

  /// Keys and values of the new rows, as they will be stored.
  bool decode_rows(uint32_t head) {
    const size_t rows = fold_.plan->rows, key_dim = shape_.keys.dim, value_dim = shape_.values.dim;
    parallel_for(options_.threads, (rows + kRowsOfTask - 1) / kRowsOfTask, [&](size_t task, uint32_t) {
      for (size_t row = task * kRowsOfTask; row < std::min(rows, (task + 1) * kRowsOfTask); row++) {
        keys_.load(row, head, key_rows_.data() + row * key_dim);
        hadamard(shape_.keys.hadamard, key_rows_.data() + row * key_dim, key_dim);
        values_.load(row, head, value_rows_.data() + row * value_dim);
      }
    });
    return !cancelled(&options_);
  }

  bool all_storable() {
    std::vector<uint8_t> bytes(shape_.values.slice_bytes);
    std::vector<float> decoded(shape_.values.dim);
    return std::all_of(free_.rows.begin(), free_.rows.end(), [&](uint32_t row) {
      return values_.can_hold(value_rows_.data() + size_t{row} * shape_.values.dim, bytes.data(), decoded.data());
    });
  }

  Fold &fold_;
  const FitShape &shape_;
  const kvfold_options &options_;
  const AttentionRun run_;
  const NewSlices keys_, values_;
  FreeRows free_;
  Scratch<float> queries_, targets_, key_rows_, value_rows_;
};

}  // namespace

kvfold_status check_fit_memory(const Fold &fold, const kvfold_options &options, kvfold_error *error) {
  for (uint32_t layer = 0; layer < fold.target->memory->layer_count; layer++) {
    const FitShape shape(fold, layer);
    uint64_t bytes = 0;
    if (shape.most_free != 0 && threads_within(options, FitShape::memory, &shape, &bytes, error) == 0)
      return error->status;
  }
  return KVFOLD_OK;
}

kvfold_status fit_layer(Fold *fold, uint32_t layer, const kvfold_options &options, kvfold_error *error) {
  const FitShape shape(*fold, layer);
  fold->key_table.fill(fold->recipe(2 * layer), shape.keys);
  uint32_t threads = 1;
  uint64_t bytes = 0;
  if (shape.most_free != 0) threads = threads_within(options, FitShape::memory, &shape, &bytes, error);
  if (threads == 0) return error->status;
  fold->working_bytes = std::max(fold->working_bytes, bytes);
  LayerFit fit(fold, shape, options, threads);
  if (shape.most_free != 0 && !fit.allocate()) return fail_memory(error, "the rows of a fit");
  for (uint32_t head = 0; head < shape.values.heads; head++) {
    if (cancelled(&options)) return fail_aborted(error);
    if (fault_here(&options)) return fail_fault(&options, error, "before a head was fitted");
    fold->fits.push_back({});
    if (kvfold_status status = fit.fit_head(head, &fold->fits.back(), error)) return status;
  }
  return KVFOLD_OK;
}

}  // namespace cpu
}  // namespace kvfold

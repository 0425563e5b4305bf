// Values of a fold that are solved for: per head, outputs over all cells, then ridge regression over the new rows.
//
//     cells  k v (as they lie)     + queries after the last cell  ->  outputs O            [query rows, value_dim]
//     rows   k v (as they will)    + queries after the last row   ->  A; free rows solved  ->  scratch
//
// Query rows are ordered so that those that fit come first and those that judge last. Values stay in the basis of the
// cache: the solution is the same in every orthogonal basis.
#include "metal/fit.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/error.h"
#include "common/queries.h"
#include "metal/fit_shape.h"
#include "metal/head_attention.h"
#include "metal/ridge.h"
#include "metal/values.h"

namespace kvfold {
namespace metal {
namespace {

double relative(double error, double size) {
  if (size > 0) return std::sqrt(error / size);
  return error > 0 ? std::numeric_limits<double>::infinity() : 0;
}

/// The fits of one layer; buffers are those of one head.
class LayerFit {
 public:
  LayerFit(Fold *fold, const FitShape &shape, const kvfold_options &options)
      : fold_(*fold), shape_(shape), options_(options), keys_(fold->tensors[2 * shape.layer]),
        values_(fold->tensors[2 * shape.layer + 1]) {}

  kvfold_status open(kvfold_error *error) {
    const kvfold_target &target = *fold_.target;
    const kvfold_query_layer &queries = target.queries->layers[shape_.layer];
    const uint64_t rows = shape_.rows, decoded = shape_.decoded() * sizeof(float);
    const bool ok = bits_.assign(queries.rows.data, queries.rows.length) && load_order() &&
                    load_turns(target.memory->layers[shape_.layer], &turns_) &&
                    slots_.assign(target.slots.data, target.slots.length) &&
                    cell_bias_.assign(target.bias.data, target.bias.length) &&
                    row_bias_.assign(fold_.plan->bias.data, fold_.plan->bias.length) &&
                    queries_.allocate(rows * shape_.keys.dim * sizeof(float)) &&
                    key_rows_.allocate(decoded * shape_.keys.dim) && value_rows_.allocate(decoded * shape_.values.dim);
    return ok ? KVFOLD_OK : fail_memory(error, "the rows of a fit");
  }

  kvfold_status fit_head(uint32_t head, kvfold_fit_outcome *outcome, kvfold_error *error) {
    free_.find(*fold_.target, *fold_.plan, shape_.layer, head);
    const double unknown = std::numeric_limits<double>::quiet_NaN();
    *outcome = {shape_.layer, head, unknown, unknown, 0, static_cast<uint32_t>(free_.rows.size())};
    if (free_.rows.empty()) return KVFOLD_OK;
    Ridge ridge(shape_.ridge(static_cast<uint32_t>(free_.rows.size())));
    Buffer free;
    if (!free.assign(free_.rows.data(), free_.rows.size()) || !ridge.allocate())
      return fail_memory(error, "the system of a fit");
    Work work;
    if (kvfold_status status = find_targets(&work, head, ridge.missing(), error)) return status;
    const double target = squares_of_judges(ridge.missing());
    if (kvfold_status status = find_missing(&work, head, free, ridge, error)) return status;
    const double before = squares_of_judges(ridge.missing());
    outcome->before = outcome->after = relative(before, target);
    if (!ridge.solve(&work, fold_.plan->fit->lambda, free_.factors)) return KVFOLD_OK;
    if (kvfold_status status = work.finish(error)) return status;
    const double after = squares_of_judges(ridge.missing());
    if (!(after < before)) return KVFOLD_OK;
    bool stored = false;
    if (kvfold_status status = store(&work, head, ridge, &stored, error)) return status;
    outcome->accepted = stored ? 1 : 0;
    if (stored) outcome->after = relative(after, target);
    return KVFOLD_OK;
  }

 private:
  bool load_order() {
    if (!order_.allocate(shape_.rows * sizeof(uint32_t))) return false;
    uint32_t *order = order_.as<uint32_t>();
    const uint32_t holdout = fold_.plan->fit->holdout;
    for (uint32_t i = 0; i < shape_.fitting; i++) *order++ = i + i / (holdout - 1);
    for (uint32_t i = 0; i < shape_.rows - shape_.fitting; i++) *order++ = (i + 1) * holdout - 1;
    return true;
  }

  double squares_of_judges(const Buffer &rows) const {
    const size_t dim = shape_.values.dim;
    double sum = 0;
    for (size_t i = shape_.fitting * dim; i < shape_.rows * dim; i++) {
      const double x = rows.as<float>()[i];
      sum += x * x;
    }
    return sum;
  }

  kvfold_status turn_queries(Work *work, uint32_t head, int32_t last, kvfold_error *error) {
    const kvfold_turn turn = shape_.turn_after(last);
    if (!load_queries(work, {turn, bits_, order_, turns_}, head, shape_.rows, queries_))
      return fail_memory(error, "the queries of a fit");
    return KVFOLD_OK;
  }

  /// What is decoded is looked at before it is attended to.
  kvfold_status finish_rows(Work *work, uint64_t count, float bias, kvfold_error *error) {
    Scan queries, keys, values;
    if (!queries.gather(work, queries_, shape_.rows * shape_.keys.dim) ||
        !keys.gather(work, key_rows_, count * shape_.keys.dim) ||
        !values.gather(work, value_rows_, count * shape_.values.dim))
      return fail_memory(error, "the rows of a fit");
    if (kvfold_status status = work->finish(error)) return status;
    if (cancelled(&options_)) return fail_aborted(error);
    return check_magnitudes(shape_.keys.dim, queries.largest(), keys.largest(), values.largest(), bias, error);
  }

  /// O: as given, or attended to over all cells with the bias that they have.
  kvfold_status find_targets(Work *work, uint32_t head, const Buffer &outputs, kvfold_error *error) {
    const kvfold_target &target = *fold_.target;
    const uint32_t dim = shape_.values.dim;
    if (shape_.outputs_known) {
      const float *known = target.outputs[shape_.layer].data + head * shape_.rows * dim;
      for (size_t slot = 0; slot < shape_.rows; slot++) {
        const float *from = known + size_t{order_.as<uint32_t>()[slot]} * dim;
        std::copy(from, from + dim, outputs.as<float>() + slot * dim);
      }
      transform_rows(work, shape_.values.hadamard, dim, shape_.rows, outputs);
      return work->finish(error);
    }
    const int32_t last_cell = target.positions.data[target.cells - 1];
    if (kvfold_status status = turn_queries(work, head, last_cell, error)) return status;
    decode_head(work, {keys_.cache, shape_.keys, slots_, slots_, target.cells, 0, 0}, head, key_rows_);
    transform_rows(work, shape_.keys.hadamard, shape_.keys.dim, target.cells, key_rows_);
    decode_head(work, {values_.cache, shape_.values, slots_, slots_, target.cells, 0, 0}, head, value_rows_);
    const float bias = largest_of(target.bias.data, target.bias.length);
    if (kvfold_status status = finish_rows(work, target.cells, bias, error)) return status;
    BlockBuffers block;
    const HeadShape cells = shape_.over(target.cells);
    if (!block.allocate(cells)) return fail_memory(error, "attention over the cells");
    attend_rows(work, cells, {queries_, key_rows_, value_rows_, cell_bias_, target.bias.length != 0},
                {nullptr, nullptr, nullptr, &outputs, false, nullptr, nullptr, 0}, block, 0, shape_.rows);
    return work->finish(error);
  }

  HeadRows rows_of(const TensorWork &of, const Tensor &tensor, const SliceTable &table, uint32_t head) const {
    const uint32_t before = table.computed_before(head), rows = fold_.plan->rows;
    return {of.cache, tensor, of.scratch, {of.table, uint64_t{head} * rows * sizeof(uint32_t)}, rows, before,
            table.computed_before(head + 1) - before};
  }

  /// E = O - A V over the new rows, and the system of the free ones.
  kvfold_status find_missing(Work *work, uint32_t head, const Buffer &free, const Ridge &ridge, kvfold_error *error) {
    const kvfold_plan &plan = *fold_.plan;
    if (kvfold_status status = turn_queries(work, head, plan.positions.data[plan.rows - 1], error)) return status;
    decode_head(work, rows_of(keys_, shape_.keys, fold_.key_table, head), head, key_rows_);
    transform_rows(work, shape_.keys.hadamard, shape_.keys.dim, plan.rows, key_rows_);
    decode_head(work, rows_of(values_, shape_.values, fold_.table, head), head, value_rows_);
    const float bias = largest_of(plan.bias.data, plan.bias.length);
    if (kvfold_status status = finish_rows(work, plan.rows, bias, error)) return status;
    BlockBuffers block;
    const HeadShape rows = shape_.over(plan.rows);
    if (!block.allocate(rows)) return fail_memory(error, "attention over the rows");
    attend_rows(work, rows, {queries_, key_rows_, value_rows_, row_bias_, plan.bias.length != 0},
                {nullptr, nullptr, nullptr, &ridge.missing(), true, &free, &ridge.weights(),
                 static_cast<uint32_t>(free_.rows.size())},
                block, 0, shape_.rows);
    ridge.build(work);
    return work->finish(error);
  }

  /// Puts the new values into scratch, unless the type of the cache cannot hold one of them.
  kvfold_status store(Work *work, uint32_t head, const Ridge &ridge, bool *stored, kvfold_error *error) {
    const size_t dim = shape_.values.dim;
    std::vector<uint32_t> numbers;
    Buffer values;
    SliceStore slices;
    for (uint32_t row : free_.rows) numbers.push_back(SliceTable::index(fold_.table.entry(head, row)));
    if (!values.allocate(free_.rows.size() * dim * sizeof(float)) || !slices.load(numbers, shape_.values) ||
        !slices.allocate_trial(shape_.values))
      return fail_memory(error, "fitted values");
    for (size_t f = 0; f < free_.rows.size(); f++) {
      const float *from = value_rows_.as<float>() + size_t{free_.rows[f]} * dim;
      for (size_t j = 0; j < dim; j++) values.as<float>()[f * dim + j] = from[j] + ridge.change(f, j);
    }
    const uint32_t before = fold_.table.computed_before(head);
    const uint32_t count = fold_.table.computed_before(head + 1) - before;
    slices.encode(work, values_, before, count, values, false);
    if (kvfold_status status = work->finish(error)) return status;
    *stored = slices.first_unstorable() < 0;
    if (*stored) slices.encode(work, values_, before, count, values, true);
    return work->finish(error);
  }

  const Fold &fold_;
  const FitShape &shape_;
  const kvfold_options &options_;
  const TensorWork &keys_, &values_;
  FreeRows free_;
  Buffer bits_, order_, turns_, slots_, cell_bias_, row_bias_, queries_, key_rows_, value_rows_;
};

}  // namespace

kvfold_status check_fit_memory(const Fold &fold, const kvfold_options &options, kvfold_error *error) {
  for (uint32_t layer = 0; layer < fold.target->memory->layer_count; layer++) {
    const FitShape shape(fold, layer);
    if (shape.most_free == 0) continue;
    if (kvfold_status status = check_limit(shape.bytes(), options, error)) return status;
  }
  return KVFOLD_OK;
}

kvfold_status fit_layer(Fold *fold, uint32_t layer, Work *work, const kvfold_options &options, kvfold_error *error) {
  const FitShape shape(*fold, layer);
  if (kvfold_status status = work->finish(error)) return status;
  fold->key_table.fill(fold->recipe(2 * layer), shape.keys);
  LayerFit fit(fold, shape, options);
  if (shape.most_free != 0) {
    fold->working_bytes = std::max(fold->working_bytes, shape.bytes());
    if (kvfold_status status = fit.open(error)) return status;
  }
  for (uint32_t head = 0; head < shape.values.heads; head++) {
    if (cancelled(&options)) return fail_aborted(error);
    if (fault_here(&options)) return fail_fault(&options, error, "before a head was fitted");
    fold->fits.push_back({});
    if (kvfold_status status = fit.fit_head(head, &fold->fits.back(), error)) return status;
  }
  return KVFOLD_OK;
}

}  // namespace metal
}  // namespace kvfold

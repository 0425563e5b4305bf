// Values that a plan gives or has solved, in double.
#include "reference/values.h"

#include <cmath>

#include "attention.h"
#include "common/error.h"
#include "common/queries.h"
#include "reference/convert.h"
#include "reference/rows.h"

namespace kvfold {
namespace reference {
namespace {

Tensor tensor_in(const NewRows &rows, uint32_t kind) { return tensor_of(*rows.target.memory, rows.layer, kind); }

/// Puts a value into the new rows; false, and nothing is changed, when the type cannot hold it.
bool put_value(const NewRows &rows, size_t head, size_t row, const std::vector<double> &value, bool only_try) {
  const Tensor tensor = tensor_in(rows, KVFOLD_VALUES);
  std::vector<uint8_t> bytes(tensor.slice_bytes);
  put(tensor.type, value.data(), value.size(), bytes.data());
  for (double x : decode(tensor, bytes.data())) {
    if (!std::isfinite(x)) return false;
  }
  uint8_t *slice = rows.values + row * tensor.row_bytes + head * tensor.slice_bytes;
  for (size_t i = 0; i < bytes.size() && !only_try; i++) slice[i] = bytes[i];
  return true;
}

/// One head of the new rows, keys out of their Hadamard basis. [rows, dim]
std::vector<float> head_of_rows(const NewRows &rows, uint32_t kind, size_t head) {
  const Tensor tensor = tensor_in(rows, kind);
  const uint8_t *bytes = kind == KVFOLD_KEYS ? rows.keys : rows.values;
  std::vector<float> out;
  for (size_t row = 0; row < rows.plan.rows; row++) {
    std::vector<double> values = decode(tensor, bytes + row * tensor.row_bytes + head * tensor.slice_bytes);
    if (kind == KVFOLD_KEYS) hadamard(tensor.hadamard, &values);
    for (double x : values) out.push_back(static_cast<float>(x));
  }
  return out;
}

std::vector<float> queries_after(const NewRows &rows, int32_t last, size_t head) {
  return turned_head(turn_of(rows.target, *rows.plan.fit, rows.layer, last), head);
}

/// Outputs over all cells, in the basis of the cache.
kvfold_status find_targets(const NewRows &rows, size_t head, std::vector<float> *targets, kvfold_error *error) {
  const kvfold_target &target = rows.target;
  const Tensor keys = tensor_in(rows, KVFOLD_KEYS), values = tensor_in(rows, KVFOLD_VALUES);
  const std::vector<float> queries = queries_after(rows, target.positions.data[target.cells - 1], head);
  targets->assign(queries.size() / keys.dim * values.dim, 0);
  if (target.outputs != nullptr && target.outputs[rows.layer].length != 0) {
    const float *known = target.outputs[rows.layer].data + head * targets->size();
    for (size_t at = 0; at < targets->size(); at += values.dim) {
      std::vector<double> one(known + at, known + at + values.dim);
      hadamard(values.hadamard, &one);
      for (size_t j = 0; j < values.dim; j++) (*targets)[at + j] = static_cast<float>(one[j]);
    }
    return KVFOLD_OK;
  }
  const std::vector<float> k = head_of_cells(*target.memory, rows.layer, KVFOLD_KEYS, target.slots, head);
  const std::vector<float> v = head_of_cells(*target.memory, rows.layer, KVFOLD_VALUES, target.slots, head);
  const kvfold_attend_input input = {static_cast<uint32_t>(queries.size() / keys.dim),
                                     target.cells,
                                     keys.dim,
                                     values.dim,
                                     {queries.data(), queries.size()},
                                     {k.data(), k.size()},
                                     target.bias,
                                     {v.data(), v.size()}};
  kvfold_attend_output output{};
  output.outputs = {targets->data(), targets->size()};
  return kvfold_attend_reference(&input, nullptr, &output, error);
}

double relative(double error, double size) {
  if (size > 0) return std::sqrt(error / size);
  return error > 0 ? HUGE_VAL : 0;
}

kvfold_status fit_head(const NewRows &rows, uint32_t head, kvfold_fit_outcome *outcome, kvfold_error *error) {
  FreeRows found;
  found.find(rows.target, rows.plan, rows.layer, head);
  const std::vector<uint32_t> &free = found.rows;
  *outcome = {rows.layer, head, std::nan(""), std::nan(""), 0, static_cast<uint32_t>(free.size())};
  if (free.empty()) return KVFOLD_OK;
  std::vector<float> targets;
  if (kvfold_status status = find_targets(rows, head, &targets, error)) return status;
  const std::vector<float> queries = queries_after(rows, rows.plan.positions.data[rows.plan.rows - 1], head);
  const std::vector<float> keys = head_of_rows(rows, KVFOLD_KEYS, head);
  std::vector<float> values = head_of_rows(rows, KVFOLD_VALUES, head);
  const size_t key_dim = tensor_in(rows, KVFOLD_KEYS).dim, dim = tensor_in(rows, KVFOLD_VALUES).dim;
  kvfold_fit_input input{};
  input.rows = static_cast<uint32_t>(queries.size() / key_dim);
  input.kept = rows.plan.rows;
  input.key_dim = static_cast<uint32_t>(key_dim);
  input.value_dim = static_cast<uint32_t>(dim);
  input.queries = {queries.data(), queries.size()};
  input.targets = {targets.data(), targets.size()};
  input.keys = {keys.data(), keys.size()};
  input.bias = rows.plan.bias;
  input.values = {values.data(), values.size()};
  input.free = {free.data(), free.size()};
  input.ridge_factors = found.told_factors();
  input.lambda = rows.plan.fit->lambda;
  input.holdout = rows.plan.fit->holdout;
  kvfold_fit_report report{};
  if (kvfold_status status = kvfold_fit_reference(&input, nullptr, {values.data(), values.size()}, &report, error))
    return status;
  const auto value = [&](uint32_t row) { return std::vector<double>(&values[row * dim], &values[row * dim] + dim); };
  bool accepted = report.accepted != 0;
  for (uint32_t row : free) accepted = accepted && put_value(rows, head, row, value(row), true);
  for (uint32_t row : free) {
    if (accepted) put_value(rows, head, row, value(row), false);
  }
  outcome->accepted = accepted ? 1 : 0;
  outcome->before = relative(report.judged.before, report.judged.target);
  outcome->after = relative(accepted ? report.judged.after : report.judged.before, report.judged.target);
  return KVFOLD_OK;
}

}  // namespace

kvfold_status store_given(const NewRows &rows, kvfold_error *error) {
  const kvfold_memory &memory = *rows.target.memory;
  const kvfold_dense_values &values = *rows.plan.values;
  const size_t max_heads = most_heads(memory);
  const float *given = values.data.data;
  for (uint32_t l = 0; l <= rows.layer; l++) {
    for (size_t head = 0; head < memory.layers[l].kv_heads; head++) {
      for (size_t row = 0; row < rows.plan.rows; row++) {
        if (!is_marked(values.given, rows.plan, max_heads, l, head, row)) continue;
        std::vector<double> value(given, given + memory.layers[l].value_dim);
        given += value.size();
        if (l < rows.layer) continue;
        hadamard(memory.layers[l].hadamard_value, &value);
        if (!put_value(rows, head, row, value, false))
          return fail(error, KVFOLD_STATUS_PLAN_FIT,
                      "layer %u head %zu: the cache cannot hold the value given for row %zu",
                      l, head, row);
      }
    }
  }
  return KVFOLD_OK;
}

kvfold_status fit_layer(const NewRows &rows, const kvfold_options *options, std::vector<kvfold_fit_outcome> *outcomes,
                        kvfold_error *error) {
  for (uint32_t head = 0; head < rows.target.memory->layers[rows.layer].kv_heads; head++) {
    if (cancelled(options)) return fail_aborted(error);
    if (fault_here(options)) return fail_fault(options, error, "before a head was fitted");
    outcomes->push_back({});
    if (kvfold_status status = fit_head(rows, head, &outcomes->back(), error)) return status;
  }
  return KVFOLD_OK;
}

}  // namespace reference
}  // namespace kvfold

// turn_queries and attend of every backend against the double reference, with and without outputs; limits of memory.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "../attention/tests/bounds.h"
#include "bounds.h"
#include "cases.h"
#include "check.h"
#include "common/queries.h"
#include "placed.h"
#include "reference/convert.h"
#include "reference/rows.h"

using cases::Case;

namespace {

const kvfold_backend *reference() { return kvfold_backend_named("reference"); }

struct Result {
  std::vector<float> maximum, mean, rms, outputs;
  uint64_t bytes = 0;
};

/// One layer of a case and the queries that it is asked with.
struct Layer {
  const Case &one;
  uint32_t index;
  uint32_t rows;
  std::vector<float> queries;

  const kvfold_memory_layer &shape() const { return one.layers[index]; }
  size_t cells() const { return one.slots.size(); }

  kvfold_status attend(const kvfold_backend *backend, bool outputs, uint64_t limit, Result *result,
                       kvfold_error *error) const {
    const size_t numbers = shape().kv_heads * cells();
    for (std::vector<float> *one_of : {&result->maximum, &result->mean, &result->rms}) one_of->assign(numbers, -1);
    result->outputs.assign(outputs ? size_t{shape().kv_heads} * rows * shape().value_dim : 0, NAN);
    const kvfold_options options{3, nullptr, nullptr, nullptr, limit};
    const cases::Placed placed(one, backend);
    const kvfold_attention request{&one.memory, index, one.target.slots, rows, {queries.data(), queries.size()},
                                   one.target.bias};
    CHECK_MESSAGE(kvfold_check_attention(&request, error) == KVFOLD_OK, error->message);
    kvfold_attention_result to{result->maximum.data(), result->mean.data(), result->rms.data(),
                               outputs ? result->outputs.data() : nullptr, 0};
    const kvfold_status status = backend->attend(&request, &options, &to, error);
    result->bytes = to.working_bytes;
    return status;
  }
};

/// Longest vector of a matrix.
double longest(const std::vector<float> &numbers, size_t dim) {
  double most = 0;
  for (size_t at = 0; at < numbers.size(); at += dim) {
    double sum = 0;
    for (size_t j = 0; j < dim; j++) sum += static_cast<double>(numbers[at + j]) * numbers[at + j];
    most = std::max(most, std::sqrt(sum));
  }
  return most;
}

std::vector<float> read(const Case &one, uint32_t layer, uint32_t kind) {
  kvfold_read request{};
  request.memory = &one.memory;
  request.layer = layer;
  request.kind = kind;
  request.slots = one.target.slots;
  request.undo_hadamard = kind == KVFOLD_KEYS ? 1 : 0;
  const kvfold_memory_layer &shape = one.layers[layer];
  std::vector<float> rows(shape.kv_heads * one.slots.size() * (kind == KVFOLD_KEYS ? shape.key_dim : shape.value_dim));
  const kvfold_options options{1, nullptr, nullptr, nullptr, 0};
  kvfold_error error{};
  CHECK(reference()->read_rows(&request, &options, rows.data(), &error) == KVFOLD_OK);
  return rows;
}

/// Keys out of a Hadamard basis lose log2(64) + 1 roundoffs of their length, and the reference rounds them once.
constexpr size_t kKeyRoundoffs = 8;

void compare(const Layer &layer, const Result &got, const Result &want, const char *name) {
  const std::vector<float> keys = read(layer.one, layer.index, KVFOLD_KEYS);
  double bias = 0;
  for (float b : layer.one.cell_bias) bias = std::max(bias, std::fabs(static_cast<double>(b)));
  const size_t dim = layer.shape().key_dim;
  const double score = longest(layer.queries, dim) * longest(keys, dim) + bias;
  const bounds::Attend bound(layer.rows, layer.cells(), dim + kKeyRoundoffs, score);
  bool within = true;
  for (size_t i = 0; i < want.mean.size(); i++) {
    within = within && std::fabs(got.maximum[i] - want.maximum[i]) <= bound.weight * want.maximum[i] + bounds::kFlush;
    within = within && std::fabs(got.mean[i] - want.mean[i]) <= bound.mean * want.mean[i] + bounds::kFlush;
    within = within && std::fabs(got.rms[i] - want.rms[i]) <= bound.rms * want.rms[i] + bounds::kSquareFlush;
  }
  CHECK_MESSAGE(within, name);
  double largest = 0;
  for (float x : read(layer.one, layer.index, KVFOLD_VALUES)) largest = std::max(largest, std::fabs(double{x}));
  const double block = std::max(1u, layer.shape().hadamard_value);
  // an error in the basis of the cache may gather on one channel, and the transform rounds log2 + 1 times
  const double slack = std::sqrt(block) * largest * (bound.outputs + 2 * (std::log2(block) + 1) * bounds::kRoundoff);
  within = got.outputs.size() == want.outputs.size();
  for (size_t i = 0; i < want.outputs.size() && within; i++)
    within = std::fabs(got.outputs[i] - want.outputs[i]) <= slack;
  CHECK_MESSAGE(within, name);
}

std::vector<float> turn(const kvfold_turn &request, const kvfold_backend *backend, size_t numbers) {
  std::vector<float> out(numbers, NAN);
  const kvfold_options options{2, nullptr, nullptr, nullptr, 0};
  kvfold_error error{};
  CHECK_MESSAGE(backend->turn_queries(&request, &options, out.data(), &error) == KVFOLD_OK, error.message);
  return out;
}

/// Less memory: the same bits, in the end a refusal.
void check_limits(const Layer &layer, const kvfold_backend *backend, const Result &want) {
  Result again;
  kvfold_error error{};
  for (uint64_t limit = want.bytes; limit > 0; limit = again.bytes - 1) {
    const kvfold_status status = layer.attend(backend, true, limit, &again, &error);
    CHECK(status == KVFOLD_OK || status == KVFOLD_STATUS_PLAN_LIMIT);
    if (status != KVFOLD_OK) return;
    CHECK(again.bytes <= limit && again.mean == want.mean && again.outputs == want.outputs);
  }
}

void check_layer(const Case &one, uint32_t index) {
  const kvfold_memory_layer &shape = one.layers[index];
  const kvfold_turn request = kvfold::turn_of(one.target, one.fit, index, one.positions.back());
  Layer layer{one, index, kvfold_turned_rows(&request), {}};
  const size_t numbers = size_t{shape.kv_heads} * layer.rows * shape.key_dim;
  layer.queries = turn(request, reference(), numbers);
  Result want;
  kvfold_error error{};
  CHECK_MESSAGE(layer.attend(reference(), true, 0, &want, &error) == KVFOLD_OK, error.message);
  for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
    if (backend == reference()) continue;
    const std::vector<float> turned = turn(request, backend, numbers);
    bool within = true;
    for (size_t i = 0; i < numbers; i++)
      within = within && std::fabs(turned[i] - layer.queries[i]) <= bounds::arithmetic(2, 4, true, 0);
    CHECK_MESSAGE(within, backend->name);
    Result got, plain;
    CHECK_MESSAGE(layer.attend(backend, true, 0, &got, &error) == KVFOLD_OK, error.message);
    compare(layer, got, want, backend->name);
    CHECK_MESSAGE(layer.attend(backend, false, 0, &plain, &error) == KVFOLD_OK, error.message);
    CHECK(plain.maximum == got.maximum && plain.mean == got.mean && plain.rms == got.rms);
    check_limits(layer, backend, got);
  }
}

/// A cell that is no number is refused, whatever the backend.
void check_numbers(uint32_t seed) {
  const auto one = cases::random_case(seed);
  cases::add_fit(one.get(), seed);
  const kvfold::Tensor keys = kvfold::tensor_of(one->memory, 0, KVFOLD_KEYS);
  const std::vector<double> infinite(keys.dim, INFINITY);
  std::vector<uint8_t> bytes(keys.slice_bytes);
  if (keys.type != KVFOLD_F32 && keys.type != KVFOLD_F16 && keys.type != KVFOLD_BF16) return;
  kvfold::reference::put(keys.type, infinite.data(), keys.dim, bytes.data());
  kvfold::reference::store_slice(keys, one->slots.back(), keys.heads - 1, bytes.data());
  Layer layer{*one, 0, 3, std::vector<float>(size_t{3} * keys.heads * keys.dim, 0.25f)};
  for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
    Result result;
    kvfold_error error{};
    CHECK_MESSAGE(layer.attend(backend, true, 0, &result, &error) == KVFOLD_STATUS_ARGUMENT, backend->name);
  }
}

}  // namespace

int main(int count, char **arguments) {
  const uint32_t runs = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 40;
  const uint32_t first = 8000 + check::first_seed();
  for (uint32_t seed = first; seed < first + runs; seed++) {
    const auto one = cases::random_case(seed);
    cases::add_fit(one.get(), seed);
    for (uint32_t l = 0; l < one->memory.layer_count; l++) check_layer(*one, l);
    check_numbers(seed);
  }
  return check::verdict("attend");
}

// Operations whose bounds are tighter than those of a whole fold: attend by the table of the attention library, turns
// over any distance, what is refused.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "attention/tests/bounds.h"
#include "cases.h"
#include "check.h"
#include "common/tensor.h"
#include "metal/emulation/emulated.h"

using cases::Case;
using cases::Random;
using emulated::kPlain;
using emulated::metal;
using emulated::reference;
using kvfold::Tensor;

namespace {

/// What one backend says of the attention that some queries pay.
struct Attended {
  std::vector<float> maximum, mean, rms, outputs;

  Attended(const kvfold_backend *backend, const kvfold_attention &request, bool valued) {
    const kvfold_memory_layer &layer = request.memory->layers[request.layer];
    const size_t cells = layer.kv_heads * request.slots.length;
    maximum = mean = rms = std::vector<float>(cells, -1.0f);
    outputs.assign(size_t{layer.kv_heads} * request.rows * layer.value_dim, -1.0f);
    kvfold_attention_result result{maximum.data(), mean.data(), rms.data(), valued ? outputs.data() : nullptr, 0};
    kvfold_error error{};
    CHECK_MESSAGE(backend->attend(&request, &kPlain, &result, &error) == KVFOLD_OK, error.message);
  }
};

double longest(const std::vector<float> &rows, size_t dim) {
  double most = 0;
  for (size_t at = 0; at < rows.size(); at += dim) {
    double square = 0;
    for (size_t j = 0; j < dim; j++) square += double{rows[at + j]} * rows[at + j];
    most = std::fmax(most, std::sqrt(square));
  }
  return most;
}

void compare(const std::vector<float> &got, const std::vector<float> &want, double relative, double absolute,
             const char *name) {
  // the reference is rounded to f32 as well
  for (size_t i = 0; i < got.size(); i++) {
    const double bound = (relative + bounds::kRoundoff) * std::fabs(want[i]) + absolute;
    if (!CHECK_MESSAGE(std::fabs(double{got[i]} - want[i]) <= bound, name)) return;
  }
}

/// Rows of a layer, Hadamard undone, by the reference.
std::vector<float> rows_of(const Case &one, uint32_t layer, uint32_t kind) {
  kvfold_read read{};
  read.memory = &one.memory;
  read.layer = layer;
  read.kind = kind;
  read.slots = one.target.slots;
  read.undo_hadamard = 1;
  const Tensor tensor = kvfold::tensor_of(one.memory, layer, kind);
  std::vector<float> rows(tensor.heads * one.slots.size() * tensor.dim);
  kvfold_error error{};
  CHECK(reference()->read_rows(&read, &kPlain, rows.data(), &error) == KVFOLD_OK);
  return rows;
}

void attend(uint32_t seed) {
  const auto one = cases::random_case(seed);
  Random random(seed ^ 0xa77u);
  const uint32_t layer = random.below(one->memory.layer_count);
  const kvfold_memory_layer &shape = one->layers[layer];
  const uint32_t rows = random.coin() ? 1 + random.below(200) : 63 + random.below(3);
  std::vector<float> queries(size_t{shape.kv_heads} * rows * shape.key_dim), bias;
  const double scale = std::ldexp(1 / std::sqrt(static_cast<double>(shape.key_dim)), static_cast<int>(random.below(5)));
  for (float &x : queries) x = static_cast<float>(random.number() * scale);
  for (size_t c = 0; c < one->slots.size() && seed % 2 == 0; c++) bias.push_back(static_cast<float>(random.number()));
  const kvfold_attention request{&one->memory, layer, one->target.slots, rows, {queries.data(), queries.size()},
                                 {bias.data(), bias.size()}};
  kvfold_error error{};
  CHECK_MESSAGE(kvfold_check_attention(&request, &error) == KVFOLD_OK, error.message);
  const bool valued = random.below(4) != 0;
  const Attended got(metal(), request, valued), want(reference(), request, valued);
  const double score = longest(queries, shape.key_dim) * longest(rows_of(*one, layer, KVFOLD_KEYS), shape.key_dim) + 1;
  // A Hadamard basis is left in f32 here and in double there: log2(b) + 1 roundoffs of a key move a score as much as
  // that many more products would.
  const size_t transform = shape.hadamard_key > 1 ? static_cast<size_t>(std::log2(shape.hadamard_key)) + 1 : 0;
  const bounds::Attend bound(rows, one->slots.size(), shape.key_dim + transform, score);
  compare(got.maximum, want.maximum, bound.weight, bounds::kFlush, "maximum");
  compare(got.mean, want.mean, bound.mean, bounds::kFlush, "mean");
  compare(got.rms, want.rms, bound.rms, bounds::kSquareFlush, "rms");
  double largest = 0;
  for (float x : rows_of(*one, layer, KVFOLD_VALUES)) largest = std::fmax(largest, std::fabs(x));
  const double basis = shape.hadamard_value > 1 ? std::log2(shape.hadamard_value) + 1 : 0;
  compare(got.outputs, want.outputs, 0, (bound.outputs + 2 * basis * bounds::kRoundoff) * largest, "outputs");
}

/// What a turn costs at any distance: a few roundoffs of the key, and 2^-53 of the angle on either side.
void distances(uint32_t seed) {
  auto one = cases::random_case(seed);
  Random random(seed ^ 0xd15u);
  for (int32_t &position : one->positions) position = static_cast<int32_t>(random.below(INT32_MAX)) >> random.below(30);
  one->bind();
  for (uint32_t l = 0; l < one->memory.layer_count; l++) {
    const kvfold_memory_layer &layer = one->layers[l];
    kvfold_read read{};
    read.memory = &one->memory;
    read.layer = l;
    read.slots = one->target.slots;
    read.positions = one->target.positions;
    read.unrotate = 1;
    read.undo_hadamard = 1;
    const size_t cells = one->slots.size(), dim = layer.key_dim;
    std::vector<float> got(layer.kv_heads * cells * dim), want(got.size());
    kvfold_error error{};
    CHECK(metal()->read_rows(&read, &kPlain, got.data(), &error) == KVFOLD_OK);
    CHECK(reference()->read_rows(&read, &kPlain, want.data(), &error) == KVFOLD_OK);
    for (size_t i = 0; i < got.size(); i++) {
      double length = 0;
      for (size_t j = 0; j < dim; j++) length += std::pow(want[i / dim * dim + j], 2);
      const double angle = one->positions[i / dim % cells];
      const double basis = layer.hadamard_key > 1 ? std::log2(layer.hadamard_key) + 1 : 0;
      const double bound = std::sqrt(length) * ((6 + basis) * bounds::kRoundoff + 2 * angle * std::ldexp(1, -53));
      if (!CHECK_MESSAGE(std::fabs(got[i] - want[i]) <= bound, one->name.c_str())) return;
    }
  }
}

/// What is not finite, or could overflow, is refused with a sentence.
void refusals() {
  const auto one = cases::random_case(41);
  const kvfold_memory_layer &layer = one->layers[0];
  const size_t count = layer.kv_heads * layer.key_dim, cells = layer.kv_heads * one->slots.size();
  std::vector<float> lanes(3 * cells);
  kvfold_attention_result result{lanes.data(), &lanes[cells], &lanes[2 * cells], nullptr, 0};
  const auto attended = [&](float query, float bias, const kvfold_options &options) {
    const std::vector<float> queries(count, query), biases(one->slots.size(), bias);
    const kvfold_attention request{&one->memory, 0, one->target.slots, 1, {queries.data(), count},
                                   {biases.data(), biases.size()}};
    kvfold_error error{};
    const kvfold_status status = metal()->attend(&request, &options, &result, &error);
    CHECK(status == KVFOLD_OK || std::strlen(error.message) > 0);
    return status;
  };
  CHECK(attended(0.5f, 0, kPlain) == KVFOLD_OK);
  const uint64_t needed = result.working_bytes;
  CHECK(attended(std::numeric_limits<float>::quiet_NaN(), 0, kPlain) == KVFOLD_STATUS_ARGUMENT);
  CHECK(attended(std::numeric_limits<float>::infinity(), 0, kPlain) == KVFOLD_STATUS_ARGUMENT);
  CHECK(attended(1e30f, 0, kPlain) == KVFOLD_STATUS_ARGUMENT);
  CHECK(attended(0.5f, std::numeric_limits<float>::quiet_NaN(), kPlain) == KVFOLD_STATUS_ARGUMENT);
  CHECK(attended(0.5f, 0, {1, nullptr, nullptr, nullptr, needed}) == KVFOLD_OK);
  CHECK(attended(0.5f, 0, {1, nullptr, nullptr, nullptr, needed - 1}) == KVFOLD_STATUS_PLAN_LIMIT);
}

}  // namespace

int main(int count, char **arguments) {
  const uint32_t runs = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 60;
  for (uint32_t seed = 9000; seed < 9000 + runs; seed++) {
    attend(seed);
    distances(seed);
  }
  refusals();
  return check::verdict("operations");
}

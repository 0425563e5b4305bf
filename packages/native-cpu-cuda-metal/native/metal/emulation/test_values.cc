// What becomes a value of the cache: how given values are rounded, what is refused, and the system that a fit solves.
#include <cmath>
#include <cstring>
#include <limits>

#include "attention/tests/bounds.h"
#include "cases.h"
#include "check.h"
#include "common/tensor.h"
#include "metal/emulation/emulated.h"
#include "metal/ridge.h"
#include "metal/values.h"
#include "reference/convert.h"
#include "reference/rows.h"

using cases::Case;
using cases::Random;
using emulated::kPlain;
using emulated::metal;
using emulated::reference;
using kvfold::Tensor;

namespace {

/// The bytes of given values are the reference's, but where f32 and double round to either side of a boundary: of one
/// channel in 500 at most. (A step of a block type has thousands of roundoffs.)
void rounding() {
  size_t channels = 0, apart = 0;
  for (uint32_t seed = 500; seed < 620; seed++) {
    const auto got = cases::random_case(seed), want = cases::random_case(seed);
    for (Case *one : {got.get(), want.get()}) {
      cases::add_values(one, seed);
      const kvfold_backend *backend = one == got.get() ? metal() : reference();
      kvfold_error error{};
      kvfold_fold *fold = nullptr;
      if (!CHECK(backend->fold_prepare(&one->target, &one->plan, &kPlain, &fold, &error) == KVFOLD_OK)) return;
      CHECK(backend->fold_commit(fold, &kPlain, &error) == KVFOLD_OK);
      backend->fold_free(fold);
    }
    for (uint32_t l = 0; l < got->memory.layer_count; l++) {
      const Tensor a = kvfold::tensor_of(got->memory, l, KVFOLD_VALUES);
      const Tensor b = kvfold::tensor_of(want->memory, l, KVFOLD_VALUES);
      if (a.hadamard > 1) continue;
      std::vector<uint8_t> x(a.slice_bytes), y(b.slice_bytes);
      for (uint32_t row = 0; row < got->plan.rows; row++) {
        for (uint32_t head = 0; head < a.heads; head++) {
          if (!got->is_changed(l, head, row)) continue;
          kvfold::reference::load_slice(a, got->destinations[row], head, x.data());
          kvfold::reference::load_slice(b, got->destinations[row], head, y.data());
          const std::vector<double> p = kvfold::reference::decode(a, x.data());
          const std::vector<double> q = kvfold::reference::decode(b, y.data());
          for (size_t j = 0; j < p.size(); j++) apart += p[j] != q[j] ? 1 : 0;
          channels += p.size();
        }
      }
    }
  }
  CHECK(channels > 100000);
  CHECK(apart * 500 <= channels);
}

/// The normal equations hold: M X - A^T E = d - D X, which the table of the attention library bounds (D and d in `Fit`;
/// sums run in chains of kChain and elimination in steps of kStep as they do there).
void ridge(uint32_t seed) {
  Random random(seed);
  const uint32_t free = 1 + random.below(seed % 4 == 0 ? 200 : 40), width = 1 + random.below(70);
  const uint32_t fitting = free * 4 + random.below(300), rows = fitting + 1 + random.below(60);
  kvfold::metal::Ridge solved({rows, fitting, free, width});
  kvfold::metal::Work work;
  kvfold_error error{};
  if (!CHECK(solved.allocate())) return;
  float *a = solved.weights().as<float>(), *e = solved.missing().as<float>();
  for (size_t i = 0; i < size_t{rows} * free; i++) a[i] = static_cast<float>(random.number() / free);
  for (size_t i = 0; i < size_t{rows} * width; i++) e[i] = static_cast<float>(random.number());
  const std::vector<double> before(e, e + size_t{rows} * width);
  solved.build(&work);
  CHECK(work.finish(&error) == KVFOLD_OK);
  constexpr double kLambda = 0.01;
  std::vector<uint8_t> factors;
  double factor_sum = 0;
  for (uint32_t f = 0; f < free; f++) {
    factors.push_back(static_cast<uint8_t>(seed % 2 == 0 ? 1 + random.below(255) : 1));
    factor_sum += factors[f];
  }
  CHECK(solved.solve(&work, kLambda, factors));
  CHECK(work.finish(&error) == KVFOLD_OK);
  double trace = 0, weights = 0, targets = 0, size = 0, left = 0;
  for (size_t i = 0; i < size_t{fitting} * free; i++) trace += double{a[i]} * a[i];
  for (size_t i = 0; i < size_t{fitting} * width; i++) targets += before[i] * before[i];
  weights = std::sqrt(trace);
  const double added = kLambda * trace / free;
  std::vector<double> answer(size_t{rows} * width);
  for (size_t f = 0; f < free; f++) {
    for (size_t j = 0; j < width; j++) {
      const double x = solved.change(f, j);
      size += x * x;
      for (size_t r = 0; r < rows; r++) answer[r * width + j] += a[r * free + f] * x;
    }
  }
  double worst = 0;
  for (size_t i = 0; i < answer.size(); i++) worst = std::fmax(worst, std::fabs(before[i] - answer[i] - e[i]));
  for (size_t f = 0; f < free; f++) {
    for (size_t j = 0; j < width; j++) {
      double equation = added * factors[f] * solved.change(f, j);
      for (size_t r = 0; r < fitting; r++) equation += a[r * free + f] * (answer[r * width + j] - before[r * width + j]);
      left += equation * equation;
    }
  }
  const bounds::Fit bound(fitting, free, false);
  CHECK(std::sqrt(left) <= bound.solve_matrix * (trace + factor_sum * added) * std::sqrt(size) +
                               bound.solve_right * weights * std::sqrt(targets));
  CHECK(worst <= bound.answer * (std::sqrt(size) + 1));  // rows of A are shorter than 1
}

/// Values that a type cannot hold are found, and only tried: no byte of scratch changes.
void unstorable() {
  auto one = cases::random_case(8);
  for (int32_t type : {KVFOLD_F16, KVFOLD_BF16, KVFOLD_F32, KVFOLD_Q8_0, KVFOLD_Q4_0, KVFOLD_Q4_1, KVFOLD_Q5_0,
                       KVFOLD_Q5_1}) {
    one->layers[0].key_type = type;
    one->layers[0].key_dim = 64;
    std::vector<uint8_t> memory(size_t{one->memory.capacity} * one->layers[0].kv_heads * 64 * 4);
    one->layers[0].keys = memory.data();
    const Tensor tensor = kvfold::tensor_of(one->memory, 0, KVFOLD_KEYS);
    kvfold::metal::TensorWork of;
    kvfold::metal::SliceStore store;
    kvfold::metal::Buffer rows;
    kvfold::metal::Work work;
    kvfold_error error{};
    std::vector<float> values(5 * 64, 0.25f);
    CHECK(of.cache.open(tensor) && of.scratch.allocate(5 * tensor.slice_bytes) && store.load({0, 1, 2, 3, 4}, tensor) &&
          store.allocate_trial(tensor) && rows.assign(values.data(), values.size()));
    std::memset(of.scratch.as<uint8_t>(), 0x33, of.scratch.bytes());
    const auto tried = [&](float value, size_t at) {
      rows.as<float>()[at] = value;
      store.encode(&work, of, 0, 0, rows, false);
      CHECK(work.finish(&error) == KVFOLD_OK);
      rows.as<float>()[at] = 0.25f;
      return store.first_unstorable();
    };
    CHECK(tried(1.0f, 0) == -1);
    CHECK(tried(std::numeric_limits<float>::infinity(), 2 * 64 + 40) == 2);
    const bool wide = type == KVFOLD_F32 || type == KVFOLD_BF16;  // the others keep an f16 of it, or of a part
    CHECK(tried(3e37f, 4 * 64 + 63) == (wide ? -1 : 4));
    for (size_t i = 0; i < of.scratch.bytes(); i++) CHECK(of.scratch.as<uint8_t>()[i] == 0x33);
  }
}

/// A given value that the cache cannot hold is named, and the fold is refused.
void refused_value() {
  for (uint32_t seed = 1;; seed++) {
    auto one = cases::random_case(seed);
    cases::add_values(one.get(), seed);
    if (one->layers[0].value_type != KVFOLD_F16 || !one->is_changed(0, 0, 0)) continue;
    one->given_values[0] = 1e30f;
    one->bind();
    kvfold_error error{};
    kvfold_fold *fold = nullptr;
    CHECK(metal()->fold_prepare(&one->target, &one->plan, &kPlain, &fold, &error) == KVFOLD_STATUS_PLAN_FIT);
    CHECK(fold == nullptr && std::strstr(error.message, "layer 0 head 0") != nullptr);
    return;
  }
}

}  // namespace

int main() {
  for (uint32_t seed = 1; seed <= 60; seed++) ridge(seed);
  rounding();
  unstorable();
  refused_value();
  return check::verdict("values");
}

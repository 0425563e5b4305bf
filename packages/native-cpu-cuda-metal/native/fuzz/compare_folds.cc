// Two backends' caches after the same fold.
#include "compare_folds.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "bounds.h"
#include "common/queries.h"
#include "common/tensor.h"
#include "reference/convert.h"
#include "reference/rows.h"

namespace fuzz {
namespace {

using cases::Case;
using kvfold::Tensor;

constexpr double kLargest = 1e4;       // sums stay in the range of f16, rotated and Hadamard bases included
constexpr double kFastest = 4;         // radians a position: angles are as exact as the tests' are

std::vector<uint8_t> bytes_of(const Tensor &tensor, size_t slot, size_t head) {
  std::vector<uint8_t> bytes(tensor.slice_bytes);
  kvfold::reference::load_slice(tensor, slot, head, bytes.data());
  return bytes;
}

/// Sum of |weight| * largest |x| over the members of a row, in the basis of the cache; infinite when one is not finite.
double magnitude_of(const Case &before, uint32_t index, uint32_t row, uint32_t head) {
  const kvfold_plan &plan = before.plan;
  const Tensor tensor = kvfold::tensor_of(before.memory, index / 2, index % 2);
  const kvfold_weights &weights = index % 2 == KVFOLD_KEYS ? plan.key_weights : plan.value_weights;
  const size_t heads = kvfold::most_heads(before.memory);
  double sum = 0;
  for (uint32_t m = before.offsets[row]; m < before.offsets[row + 1]; m++) {
    const auto bytes = bytes_of(tensor, before.slots[before.members[m]], head);
    double largest = 0;
    for (double x : kvfold::reference::decode(tensor, bytes.data())) largest = std::max(largest, std::fabs(x));
    sum += largest * std::fabs(kvfold::weight_of(weights, before.members.size(), heads, index / 2, head, m));
    for (size_t j = 0; j < tensor.dim; j++) {
      if (!std::isfinite(kvfold::reference::get(tensor.type, bytes.data(), j))) return INFINITY;
    }
  }
  return sum;
}

bool has_bound(const Case &before, uint32_t index, uint32_t row, uint32_t head, double magnitude) {
  const kvfold_u8_span *changed = kvfold::changed_values(before.plan);
  const size_t heads = kvfold::most_heads(before.memory);
  if (index % 2 == KVFOLD_VALUES && changed != nullptr &&
      kvfold::is_marked(*changed, before.plan, heads, index / 2, head, row))
    return false;
  if (index % 2 == KVFOLD_KEYS && before.plan.key_frame == KVFOLD_FRAME_TARGET) {
    for (double frequency : before.frequencies[index / 2]) {
      if (!(std::fabs(frequency) <= kFastest)) return false;
    }
  }
  return magnitude <= kLargest;
}

[[noreturn]] void stop(uint32_t index, uint32_t slot, uint32_t head, const char *what) {
  std::fprintf(stderr, "fuzz_plan: layer %u, %s, cell %u, head %u: %s\n", index / 2, index % 2 == 0 ? "keys" : "values",
               slot, head, what);
  std::abort();
}

void compare_slice(const Case &got, const Case &want, const Case &before, uint32_t index, uint32_t row, uint32_t head) {
  const Tensor a = kvfold::tensor_of(got.memory, index / 2, index % 2);
  const Tensor b = kvfold::tensor_of(want.memory, index / 2, index % 2);
  const uint32_t slot = got.destinations[row];
  const auto raw_a = bytes_of(a, slot, head), raw_b = bytes_of(b, slot, head);
  if (raw_a == raw_b) return;
  if (got.plan.layout == KVFOLD_COMPOSITE) {
    if (has_bound(before, index, row, head, 0)) stop(index, slot, head, "a copied slice has other bytes");
    return;
  }
  const double magnitude = magnitude_of(before, index, row, head);
  if (!has_bound(before, index, row, head, magnitude)) return;
  const bool turned = index % 2 == KVFOLD_KEYS && got.plan.key_frame == KVFOLD_FRAME_TARGET;
  const double members = before.offsets[row + 1] - before.offsets[row];
  const double slack = bounds::arithmetic(members, magnitude, turned, a.hadamard);
  const auto x = kvfold::reference::decode(a, raw_a.data()), y = kvfold::reference::decode(b, raw_b.data());
  double largest = 0, fixed = 0;
  for (size_t j = 0; j < x.size(); j++) {
    if (j % 32 == 0) {
      largest = 0;
      for (size_t k = j; k < std::min(x.size(), j + 32); k++) largest = std::max(largest, std::fabs(y[k]));
      fixed = cases::fixed_point_slack(before, index, row, head, j, largest);
    }
    if (!(std::fabs(x[j] - y[j]) <= 2 * (bounds::store(a.type, y[j], largest) + slack) + fixed))
      stop(index, slot, head, "the sums are further apart than their bound");
  }
}

}  // namespace

void compare_folds(const Case &got, const Case &want, const Case &before) {
  for (uint32_t index = 0; index < 2 * got.memory.layer_count; index++) {
    const Tensor a = kvfold::tensor_of(got.memory, index / 2, index % 2);
    const Tensor b = kvfold::tensor_of(want.memory, index / 2, index % 2);
    for (uint32_t slot = 0; slot < got.memory.capacity; slot++) {
      if (std::binary_search(got.destinations.begin(), got.destinations.end(), slot)) continue;
      for (uint32_t head = 0; head < a.heads; head++) {
        if (bytes_of(a, slot, head) != bytes_of(b, slot, head)) stop(index, slot, head, "a cell of nobody was written");
      }
    }
    for (uint32_t row = 0; row < got.plan.rows; row++) {
      for (uint32_t head = 0; head < a.heads; head++) compare_slice(got, want, before, index, row, head);
    }
  }
}

}  // namespace fuzz

// Fitted and given values: what the memory holds afterwards gives the error that the fold reported; backends agree; all
// other bytes are those of the same fold without a fit; the same bits for any number of threads; limits of memory.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "bounds.h"
#include "cases.h"
#include "check.h"
#include "common/queries.h"
#include "placed.h"
#include "reference/convert.h"
#include "reference/rows.h"

using cases::Case;
using kvfold::Tensor;

namespace {

using Outcomes = std::vector<kvfold_fit_outcome>;

const kvfold_backend *reference() { return kvfold_backend_named("reference"); }

/// Folds; false when it could not. `outcomes` may be NULL.
bool fold(const Case &one, const kvfold_backend *backend, const kvfold_options &options, Outcomes *outcomes,
          uint64_t *working_bytes = nullptr) {
  kvfold_error error{};
  kvfold_fold *prepared = nullptr;
  cases::Placed placed(one, backend);
  if (!CHECK_MESSAGE(kvfold_check_target(&one.target, &error) == KVFOLD_OK, error.message) ||
      !CHECK_MESSAGE(kvfold_check_plan(&one.target, &one.plan, &error) == KVFOLD_OK, error.message) ||
      !CHECK_MESSAGE(backend->fold_prepare(&one.target, &one.plan, &options, &prepared, &error) == KVFOLD_OK,
                     error.message))
    return false;
  const kvfold_fold_report report = backend->fold_report(prepared);
  if (outcomes != nullptr) outcomes->assign(report.fits, report.fits + report.fit_count);
  if (working_bytes != nullptr) *working_bytes = report.working_bytes;
  const bool ok = CHECK_MESSAGE(backend->fold_commit(prepared, &options, &error) == KVFOLD_OK, error.message);
  backend->fold_free(prepared);
  placed.fetch();
  return ok;
}

std::vector<uint8_t> bytes_of(const Tensor &tensor, size_t slot, size_t head) {
  std::vector<uint8_t> bytes(tensor.slice_bytes);
  kvfold::reference::load_slice(tensor, slot, head, bytes.data());
  return bytes;
}

/// Attention outputs of a layer by the reference. [kv_heads, rows, value_dim]
std::vector<float> outputs_of(const Case &one, uint32_t layer, const kvfold_u32_span &slots, int32_t last,
                              const kvfold_f32_span &bias, uint32_t *rows) {
  const kvfold_memory_layer &shape = one.layers[layer];
  const kvfold_options options{1, nullptr, nullptr, nullptr, 0};
  const kvfold_turn turn = kvfold::turn_of(one.target, one.fit, layer, last);
  kvfold_error error{};
  *rows = kvfold_turned_rows(&turn);
  std::vector<float> queries(size_t{shape.kv_heads} * *rows * shape.key_dim);
  CHECK(reference()->turn_queries(&turn, &options, queries.data(), &error) == KVFOLD_OK);
  const kvfold_attention request{&one.memory, layer, slots, *rows, {queries.data(), queries.size()}, bias};
  CHECK_MESSAGE(kvfold_check_attention(&request, &error) == KVFOLD_OK, error.message);
  const size_t cells = shape.kv_heads * slots.length;
  std::vector<float> outputs(size_t{shape.kv_heads} * *rows * shape.value_dim), statistics(3 * cells);
  float *statistic = statistics.data();
  kvfold_attention_result result{statistic, statistic + cells, statistic + 2 * cells, outputs.data(), 0};
  CHECK_MESSAGE(reference()->attend(&request, &options, &result, &error) == KVFOLD_OK, error.message);
  return outputs;
}

/// Norms over the judging rows of one head.
struct Judged {
  double error = 0, size = 0, numbers = 0;
  Judged(const float *got, const float *want, size_t rows, size_t dim, size_t holdout) {
    for (size_t row = holdout - 1; row < rows; row += holdout) {
      for (size_t j = 0; j < dim; j++) {
        const double w = want[row * dim + j], g = got[row * dim + j];
        error += (w - g) * (w - g);
        size += w * w;
        numbers++;
      }
    }
    error = std::sqrt(error);
    size = std::sqrt(size);
  }
};

double largest_value(const Case &one, uint32_t layer) {
  const Tensor tensor = kvfold::tensor_of(one.memory, layer, KVFOLD_VALUES);
  double largest = 0;
  for (uint32_t slot : one.destinations) {
    for (size_t head = 0; head < tensor.heads; head++) {
      for (double x : kvfold::reference::decode(tensor, bytes_of(tensor, slot, head).data()))
        largest = std::max(largest, std::fabs(x));
    }
  }
  return largest;
}

/// How far the relative error of a head may lie from the reported one. An output is a mean of values: f32 loses
/// cells + 16 roundoffs of the largest; scores lose key_dim + 32 roundoffs of |q||k|, at most 32 here, and move weights
/// by as much of themselves, on both sides; storing moves each value by its own bound.
double slack_of(const Case &one, uint32_t layer, const Judged &judged, bool stored) {
  const kvfold_memory_layer &shape = one.layers[layer];
  const double largest = largest_value(one, layer) * (shape.hadamard_value > 0 ? std::sqrt(shape.hadamard_value) : 1);
  const double roundoffs = one.plan.cells + 16 + 2 * 32 * (shape.key_dim + 32);
  double each = roundoffs * std::ldexp(largest, -24);
  if (stored) {
    // rotating the error of storing into another basis can move all of it onto one channel
    each += bounds::store(shape.value_type, largest, largest) *
            (shape.hadamard_value > 0 ? std::sqrt(shape.hadamard_value) : 1);
  }
  return each * std::sqrt(judged.numbers) / judged.size;
}

/// The error of every fitted head, measured in the memory after the commit, is the reported one.
void check_measured(const Case &before, const Case &after, const Outcomes &outcomes, const char *backend) {
  size_t at = 0;
  for (uint32_t l = 0; l < after.memory.layer_count; l++) {
    const kvfold_memory_layer &shape = after.layers[l];
    uint32_t rows = 0;
    const std::vector<float> want =
        outputs_of(before, l, before.target.slots, before.positions.back(), before.target.bias, &rows);
    const std::vector<float> got =
        outputs_of(after, l, after.target.destinations, after.row_positions.back(), after.plan.bias, &rows);
    const size_t numbers = size_t{rows} * shape.value_dim;
    for (uint32_t h = 0; h < shape.kv_heads; h++, at++) {
      const kvfold_fit_outcome &outcome = outcomes[at];
      CHECK(outcome.layer == l && outcome.head == h);
      if (outcome.free == 0) {
        CHECK(std::isnan(outcome.before) && std::isnan(outcome.after) && outcome.accepted == 0);
        continue;
      }
      const float *own = got.data() + h * numbers;
      const Judged judged(own, want.data() + h * numbers, rows, shape.value_dim, after.fit.holdout);
      const double slack = slack_of(after, l, judged, outcome.accepted != 0);
      CHECK_MESSAGE(std::fabs(judged.error / judged.size - outcome.after) <= slack, backend);
      CHECK_MESSAGE(outcome.accepted == 0 ? outcome.after == outcome.before : outcome.after < outcome.before, backend);
    }
  }
  CHECK(at == outcomes.size());
}

/// Two backends report the same. Solving loses free * condition roundoffs of what is explained, and the condition of
/// A^T A + ridge is at most the largest ridge factor + free / lambda. Merged rows may have been rounded to either side when they were stored.
void check_outcomes(const Case &one, const Case &after, const Outcomes &got, const Outcomes &want) {
  if (!CHECK(got.size() == want.size())) return;
  for (size_t i = 0; i < got.size(); i++) {
    CHECK(got[i].free == want[i].free);
    if (got[i].free == 0) continue;
    uint32_t rows = 0;
    const std::vector<float> o =
        outputs_of(one, got[i].layer, one.target.slots, one.positions.back(), one.target.bias, &rows);
    const size_t dim = one.layers[got[i].layer].value_dim;
    const float *head = o.data() + size_t{got[i].head} * rows * dim;
    const bool merged = one.plan.layout == KVFOLD_SHARED;
    const double slack = slack_of(after, got[i].layer, Judged(head, head, rows, dim, one.fit.holdout), merged);
    const double free = got[i].free;
    const double solving = 4 * free * (UINT8_MAX + free / one.fit.lambda) * std::ldexp(want[i].before, -24) + 2 * slack;
    CHECK_MESSAGE(std::fabs(got[i].before - want[i].before) <= slack, one.name.c_str());
    if (got[i].accepted == want[i].accepted)
      CHECK_MESSAGE(std::fabs(got[i].after - want[i].after) <= solving, one.name.c_str());
    else
      CHECK_MESSAGE(std::fabs(std::min(got[i].after, want[i].after) - want[i].before) <= solving, one.name.c_str());
  }
}

/// Slices that no fit changed are those of the same fold without one, byte for byte; so are those of a dropped fit.
void check_untouched(const Case &fitted, const Case &plain, const Outcomes &outcomes) {
  for (const kvfold_fit_outcome &outcome : outcomes) {
    for (uint32_t kind : {KVFOLD_KEYS, KVFOLD_VALUES}) {
      const Tensor a = kvfold::tensor_of(fitted.memory, outcome.layer, kind);
      const Tensor b = kvfold::tensor_of(plain.memory, outcome.layer, kind);
      for (uint32_t slot = 0; slot < fitted.memory.capacity; slot++) {
        const auto at = std::lower_bound(fitted.destinations.begin(), fitted.destinations.end(), slot);
        const bool written = at != fitted.destinations.end() && *at == slot;
        const uint32_t row = static_cast<uint32_t>(at - fitted.destinations.begin());
        if (kind == KVFOLD_VALUES && outcome.accepted != 0 && written &&
            fitted.is_changed(outcome.layer, outcome.head, row))
          continue;
        CHECK_MESSAGE(bytes_of(a, slot, outcome.head) == bytes_of(b, slot, outcome.head), fitted.name.c_str());
      }
    }
  }
}

bool same_bits(const Outcomes &a, const Outcomes &b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(kvfold_fit_outcome)) == 0;
}

std::unique_ptr<Case> fit_case(uint32_t seed) {
  auto one = cases::random_case(seed);
  cases::add_fit(one.get(), seed);
  return one;
}

/// Outputs that were computed before need not be computed again.
void check_known_outputs(uint32_t seed, const kvfold_backend *backend, const Case &computed, const Outcomes &outcomes) {
  auto one = fit_case(seed);
  std::vector<std::vector<float>> outputs;
  std::vector<kvfold_f32_span> spans;
  for (uint32_t l = 0; l < one->memory.layer_count; l++) {
    uint32_t rows = 0;
    outputs.push_back(outputs_of(*one, l, one->target.slots, one->positions.back(), one->target.bias, &rows));
    spans.push_back({outputs.back().data(), outputs.back().size()});
  }
  one->target.outputs = spans.data();
  Outcomes again;
  if (!fold(*one, backend, {2, nullptr, nullptr, nullptr, 0}, &again)) return;
  check_outcomes(computed, *one, again, outcomes);
  spans[0].length--;
  kvfold_error error{};
  const kvfold_status expected = std::any_of(outcomes.begin(), outcomes.end(), [](const kvfold_fit_outcome &outcome) {
    return outcome.layer == 0 && outcome.free > 0;
  }) ? KVFOLD_STATUS_ARGUMENT : KVFOLD_OK;
  CHECK(kvfold_check_plan(&one->target, &one->plan, &error) == expected);
}

bool can_prepare(const Case &one, const kvfold_backend *backend, const kvfold_options &options, kvfold_error *error) {
  const cases::Placed placed(one, backend);
  kvfold_fold *prepared = nullptr;
  if (backend->fold_prepare(&one.target, &one.plan, &options, &prepared, error) != KVFOLD_OK) return false;
  backend->fold_free(prepared);
  return true;
}

/// Fewer threads, then a refusal.
void check_limit(uint32_t seed, const kvfold_backend *backend, const Case &unlimited) {
  auto one = fit_case(seed);
  uint64_t bytes = 0;
  if (!fold(*one, backend, {1, nullptr, nullptr, nullptr, 0}, nullptr, &bytes) || bytes == 0) return;
  one = fit_case(seed);
  uint64_t used = 0;
  if (!fold(*one, backend, {4, nullptr, nullptr, nullptr, bytes}, nullptr, &used)) return;
  CHECK(used == bytes);
  CHECK(one->same_bytes(unlimited.buffers));
  // a device works on fewer heads at once before it refuses; the bits stay
  for (kvfold_error refused{}; backend->device != nullptr && bytes > 0; bytes = used) {
    one = fit_case(seed);
    const kvfold_options less{4, nullptr, nullptr, nullptr, bytes - 1};
    if (!can_prepare(*one, backend, less, &refused)) break;
    if (!fold(*one, backend, less, nullptr, &used)) return;
    CHECK(used < bytes);
    CHECK(one->same_bytes(unlimited.buffers));
  }
  one = fit_case(seed);
  kvfold_error error{};
  kvfold_fold *prepared = nullptr;
  const kvfold_options tight{4, nullptr, nullptr, nullptr, bytes - 1};
  const cases::Placed placed(*one, backend);
  CHECK(backend->fold_prepare(&one->target, &one->plan, &tight, &prepared, &error) == KVFOLD_STATUS_PLAN_LIMIT);
  CHECK(prepared == nullptr && std::strlen(error.message) > 0);
}

void check_fits(uint32_t seed) {
  const auto before = fit_case(seed);
  std::unique_ptr<Case> want = fit_case(seed), plain;
  Outcomes expected;
  if (!fold(*want, reference(), {1, nullptr, nullptr, nullptr, 0}, &expected)) return;
  check_measured(*before, *want, expected, "reference");
  for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
    if (backend == reference()) continue;
    std::unique_ptr<Case> first;
    Outcomes outcomes;
    for (uint32_t threads = 1; threads <= (backend->device == nullptr ? 4u : 1u); threads++) {
      auto got = fit_case(seed);
      Outcomes again;
      if (!fold(*got, backend, {threads, nullptr, nullptr, nullptr, 0}, &again)) return;
      CHECK_MESSAGE(got->guards_hold(), got->name.c_str());
      if (first == nullptr) {
        outcomes = again;
        first = std::move(got);
      }
      else CHECK_MESSAGE(got->same_bytes(first->buffers) && same_bits(again, outcomes), "not the same bits");
    }
    check_measured(*before, *first, outcomes, backend->name);
    check_outcomes(*before, *first, outcomes, expected);
    plain = fit_case(seed);
    plain->plan.fit = nullptr;
    if (fold(*plain, backend, {1, nullptr, nullptr, nullptr, 0}, nullptr)) check_untouched(*first, *plain, outcomes);
    check_known_outputs(seed, backend, *before, outcomes);
    check_limit(seed, backend, *first);
  }
}

/// More free rows than query rows: the other of the two systems. The rules for plans never let one through, so the
/// backends are asked directly.
void check_dual(uint32_t seed) {
  const auto dual_case = [seed] {
    auto one = fit_case(seed);
    const uint32_t heads = kvfold::most_heads(one->memory), rows = one->plan.rows;
    one->fit.max_rows = 9;
    for (uint32_t l = 0; l < one->memory.layer_count; l++) {
      for (uint32_t at = 0; at < one->layers[l].kv_heads * rows; at++) one->changed[size_t{l} * heads * rows + at] = 1;
    }
    return one;
  };
  if (dual_case()->plan.rows < 12) return;
  const kvfold_options options{2, nullptr, nullptr, nullptr, 0};
  const auto outcomes_of = [&](const Case &one, const kvfold_backend *backend) {
    cases::Placed placed(one, backend);
    kvfold_error error{};
    kvfold_fold *prepared = nullptr;
    Outcomes outcomes;
    if (!CHECK_MESSAGE(backend->fold_prepare(&one.target, &one.plan, &options, &prepared, &error) == KVFOLD_OK,
                       error.message))
      return outcomes;
    const kvfold_fold_report report = backend->fold_report(prepared);
    outcomes.assign(report.fits, report.fits + report.fit_count);
    CHECK_MESSAGE(backend->fold_commit(prepared, &options, &error) == KVFOLD_OK, error.message);
    backend->fold_free(prepared);
    placed.fetch();
    return outcomes;
  };
  const auto want = dual_case();
  const Outcomes expected = outcomes_of(*want, reference());
  for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
    if (backend == reference()) continue;
    const auto got = dual_case();
    check_outcomes(*dual_case(), *got, outcomes_of(*got, backend), expected);
  }
}

/// A given value is in the cache as that backend stores it; the bytes of all backends agree with f32, f16 and bf16.
void check_values(uint32_t seed) {
  for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
    auto one = cases::random_case(seed);
    cases::add_values(one.get(), seed);
    if (!fold(*one, backend, {2, nullptr, nullptr, nullptr, 0}, nullptr)) return;
    const float *given = one->given_values.data();
    for (uint32_t l = 0; l < one->memory.layer_count; l++) {
      const Tensor tensor = kvfold::tensor_of(one->memory, l, KVFOLD_VALUES);
      for (uint32_t h = 0; h < tensor.heads; h++) {
        for (uint32_t row = 0; row < one->plan.rows; row++) {
          if (!one->is_changed(l, h, row)) continue;
          std::vector<double> value(given, given + tensor.dim);
          given += tensor.dim;
          kvfold::reference::hadamard(tensor.hadamard, &value);
          const std::vector<uint8_t> bytes = bytes_of(tensor, one->destinations[row], h);
          const std::vector<double> stored = kvfold::reference::decode(tensor, bytes.data());
          for (size_t j = 0; j < tensor.dim; j++) {
            double largest = 0;
            for (size_t k = j / 32 * 32; k < std::min<size_t>(tensor.dim, j / 32 * 32 + 32); k++)
              largest = std::max(largest, std::fabs(value[k]));
            const double slack = bounds::arithmetic(1, 8, true, tensor.hadamard);
            CHECK_MESSAGE(std::fabs(stored[j] - value[j]) <= bounds::store(tensor.type, value[j], largest) + slack,
                          backend->name);
          }
        }
      }
    }
  }
}

}  // namespace

int main(int count, char **arguments) {
  const uint32_t runs = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 40;
  const uint32_t first = 5000 + check::first_seed();
  for (uint32_t seed = first; seed < first + runs; seed++) {
    check_fits(seed);
    check_dual(seed);
    check_values(seed);
  }
  return check::verdict("fits");
}

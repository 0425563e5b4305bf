// The host side in every state: ranges wrapped and copied, a GPU that fails, memory that runs out, what a commit may
// use; nothing is ever left behind.
#include <cstring>

#include "cases.h"
#include "check.h"
#include "metal/emulation/emulated.h"
#include "metal/emulation/fake.h"

using cases::Case;
using emulated::kPlain;
using emulated::metal;

namespace {

std::unique_ptr<Case> any_case(uint32_t seed) {
  auto one = cases::random_case(seed);
  if (seed % 3 == 1) cases::add_fit(one.get(), seed);
  if (seed % 3 == 2) cases::add_values(one.get(), seed);
  return one;
}

kvfold_status prepare(const Case &one, kvfold_fold **fold, kvfold_error *error) {
  return metal()->fold_prepare(&one.target, &one.plan, &kPlain, fold, error);
}

kvfold_status fold(const Case &one, kvfold_error *error) {
  kvfold_fold *prepared = nullptr;
  kvfold_status status = prepare(one, &prepared, error);
  if (status != KVFOLD_OK) return status;
  status = metal()->fold_commit(prepared, &kPlain, error);
  if (status != KVFOLD_OK) CHECK(metal()->fold_rollback(prepared, &kPlain, error) == KVFOLD_OK);
  metal()->fold_free(prepared);
  return status;
}

/// Wrapped or copied, the same bytes.
void ranges(uint32_t seed) {
  std::unique_ptr<Case> first;
  for (int64_t every : {1, 2, 1000000}) {
    fake::orders.refuse_every = every;
    const int64_t wrapped = fake::counts.wrapped, refused = fake::counts.refused;
    auto one = any_case(seed);
    kvfold_error error{};
    CHECK_MESSAGE(fold(*one, &error) == KVFOLD_OK, error.message);
    CHECK(one->guards_hold());
    CHECK(every == 1 ? fake::counts.wrapped == wrapped : fake::counts.wrapped > wrapped);
    CHECK(every > 2 || fake::counts.refused > refused);
    if (first == nullptr) first = std::move(one);
    else CHECK_MESSAGE(one->same_bytes(first->buffers), one->name.c_str());
  }
  fake::orders.refuse_every = 3;
}

/// The n-th submission fails: the memory is what it was, and the fold says so.
void failing_device(uint32_t seed) {
  const auto before = any_case(seed);
  for (int64_t left = 0;; left++) {
    auto one = any_case(seed);
    kvfold_error error{};
    fake::orders.submissions_left = left;
    const kvfold_status status = fold(*one, &error);
    fake::orders.submissions_left = INT64_MAX;
    CHECK(fake::alive.buffers == 0 && fake::alive.commands == 0 && fake::alive.encoders == 0);
    if (status == KVFOLD_OK) {
      CHECK(left >= 2);  // the undo log, and the new rows
      return;
    }
    CHECK(status == KVFOLD_STATUS_NATIVE && std::strlen(error.message) > 0);
    CHECK_MESSAGE(one->same_bytes(before->buffers), one->name.c_str());
  }
}

/// Calls with room for ever more buffers, until one succeeds.
template <typename Call>
void starve(const Call &call) {
  for (int64_t left = 0;; left++) {
    kvfold_error error{};
    fake::orders.buffers_left = left;
    const kvfold_status status = call(&error);
    fake::orders.buffers_left = INT64_MAX;
    CHECK(fake::alive.buffers == 0 && fake::alive.commands == 0 && fake::alive.encoders == 0);
    if (status == KVFOLD_OK) return;
    if (!CHECK(status == KVFOLD_STATUS_NATIVE && std::strlen(error.message) > 0)) return;
  }
}

/// No memory for the n-th buffer, in every operation: a status, and nothing is changed or left.
void no_memory(uint32_t seed) {
  auto one = any_case(seed);
  const std::vector<cases::Buffer> before = one->snapshot();
  starve([&](kvfold_error *error) {
    kvfold_fold *prepared = nullptr;
    const kvfold_status status = prepare(*one, &prepared, error);
    CHECK((prepared != nullptr) == (status == KVFOLD_OK));
    if (prepared != nullptr) metal()->fold_free(prepared);
    return status;
  });
  const kvfold_memory_layer &layer = one->layers[0];
  const size_t cells = one->slots.size();
  kvfold_read read{};
  read.memory = &one->memory;
  read.slots = one->target.slots;
  read.unrotate = 1;
  read.positions = one->target.positions;
  std::vector<float> rows(layer.kv_heads * cells * layer.key_dim), norm(layer.kv_heads * cells), cosine(norm);
  starve([&](kvfold_error *error) { return metal()->read_rows(&read, &kPlain, rows.data(), error); });
  starve([&](kvfold_error *error) { return metal()->key_stats(&read, &kPlain, norm.data(), cosine.data(), error); });
  const std::vector<float> queries(layer.kv_heads * layer.key_dim, 0.5f);
  std::vector<float> lanes(3 * norm.size()), outputs(layer.kv_heads * layer.value_dim);
  const kvfold_attention request{&one->memory, 0, one->target.slots, 1, {queries.data(), queries.size()}, {}};
  kvfold_attention_result result{lanes.data(), &lanes[norm.size()], &lanes[2 * norm.size()], outputs.data(), 0};
  starve([&](kvfold_error *error) { return metal()->attend(&request, &kPlain, &result, error); });
  const std::vector<int32_t> deltas(cells, 7);
  const kvfold_rope rope{&one->memory, one->target.slots, {deltas.data(), deltas.size()}, nullptr};
  starve([&](kvfold_error *error) {
    kvfold_fold *shift = nullptr;
    const kvfold_status status = metal()->rope_prepare(&rope, &kPlain, &shift, error);
    if (shift != nullptr) metal()->fold_free(shift);
    return status;
  });
  CHECK(one->same_bytes(before));
}

/// All layers are one submission to prepare and two to commit, and a commit takes no memory.
void submissions(uint32_t seed) {
  auto one = cases::random_case(seed);
  kvfold_error error{};
  kvfold_fold *prepared = nullptr;
  int64_t start = fake::counts.submissions;
  if (!CHECK_MESSAGE(prepare(*one, &prepared, &error) == KVFOLD_OK, error.message)) return;
  CHECK(fake::counts.submissions - start <= 1);  // none where all rows are copies
  start = fake::counts.submissions;
  fake::orders.buffers_left = 0;
  CHECK_MESSAGE(metal()->fold_commit(prepared, &kPlain, &error) == KVFOLD_OK, error.message);
  fake::orders.buffers_left = INT64_MAX;
  CHECK(fake::counts.submissions - start == 2);
  metal()->fold_free(prepared);
}

}  // namespace

int main() {
  CHECK(metal() != nullptr);
  for (uint32_t seed = 7000; seed < 7030; seed++) {
    ranges(seed);
    failing_device(seed);
    submissions(seed);
    if (seed % 5 == 0) no_memory(seed);
  }
  return check::verdict("host");
}

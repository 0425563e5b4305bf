// libFuzzer target of the plan reader: whatever a plan, a target and a memory say, the checks answer with a status and a
// sentence; what they let pass, every backend folds alike, takes back to the last byte, and stays inside its buffers.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "compare_folds.h"
#include "kvfold/backend.h"
#include "plan_input.h"

using cases::Case;

namespace {

constexpr size_t kLongest = 4096;  // bytes of an input
constexpr uint64_t kMemoryLimit = uint64_t{1} << 26;
constexpr uint8_t kFaultPoints = 24;  // a commit of two layers has 20

[[noreturn]] void stop(const char *what, const char *detail) {
  std::fprintf(stderr, "fuzz_plan: %s: %s\n", what, detail);
  std::abort();
}

void need(bool holds, const char *what, const char *detail) {
  if (!holds) stop(what, detail);
}

/// Passes a status on; a failure has told its reason.
kvfold_status told(kvfold_status status, const kvfold_error &error) {
  if (status == KVFOLD_OK) return status;
  const void *end = std::memchr(error.message, 0, sizeof error.message);
  need(error.status == status && end != nullptr && error.message[0] != 0, "a failure without a reason",
       kvfold_status_code(status));
  return status;
}

kvfold_status check(const Case &one) {
  kvfold_error error{};
  if (kvfold_status status = told(kvfold_check_target(&one.target, &error), error)) return status;
  return told(kvfold_check_plan(&one.target, &one.plan, &error), error);
}

void check_reads(const Case &one, const kvfold_backend *backend, const kvfold_options &options) {
  for (uint32_t l = 0; l < one.memory.layer_count; l++) {
    kvfold_read read{};
    kvfold_error error{};
    read.memory = &one.memory;
    read.layer = l;
    read.slots = one.target.slots;
    read.positions = one.target.positions;
    read.sources = one.target.sources == nullptr ? kvfold_i32_span{} : one.target.sources[l];
    read.unrotate = read.undo_hadamard = 1;
    if (told(kvfold_check_read(&read, &error), error) != KVFOLD_OK) continue;
    const kvfold_memory_layer &layer = one.layers[l];
    const size_t slices = size_t{layer.kv_heads} * one.slots.size();
    std::vector<float> rows(slices * layer.key_dim), norm(slices), cosine(slices);
    told(backend->read_rows(&read, &options, rows.data(), &error), error);
    if (backend->key_stats != nullptr)
      told(backend->key_stats(&read, &options, norm.data(), cosine.data(), &error), error);
  }
}

/// Half a commit and a whole one, each taken back. The case is left folded if `keep`.
kvfold_status fold(Case *one, const kvfold_backend *backend, uint8_t fault, bool keep) {
  kvfold_faults faults{fault, 0};
  const uint32_t threads = 1 + fault % 2;
  const kvfold_options plain{threads, nullptr, nullptr, nullptr, kMemoryLimit};
  const kvfold_options faulty{threads, nullptr, nullptr, &faults, kMemoryLimit};
  const std::vector<cases::Buffer> before = one->snapshot();
  check_reads(*one, backend, plain);
  for (const kvfold_options *options : {&faulty, &plain}) {
    kvfold_fold *made = nullptr;
    kvfold_error error{};
    const kvfold_status prepared =
        told(backend->fold_prepare(&one->target, &one->plan, &plain, &made, &error), error);
    need((made != nullptr) == (prepared == KVFOLD_OK), "prepare gave half an answer", backend->name);
    need(one->same_bytes(before), "prepare wrote to the cache", backend->name);
    if (prepared != KVFOLD_OK) return prepared;
    const kvfold_status committed = told(backend->fold_commit(made, options, &error), error);
    need(committed == KVFOLD_OK || (options == &faulty && committed == KVFOLD_STATUS_FAULT), "commit failed",
         error.message);
    need(one->guards_hold(), "a commit wrote outside of the cache", backend->name);
    if (options == &faulty || !keep) {
      need(backend->fold_rollback(made, &plain, &error) == KVFOLD_OK, "rollback failed", error.message);
      need(one->same_bytes(before), "a rollback left something behind", backend->name);
    }
    backend->fold_free(made);
  }
  return KVFOLD_OK;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > kLongest) return 0;
  const auto before = fuzz::plan_input(data, size);
  if (check(*before) != KVFOLD_OK) return 0;
  const uint8_t fault = size == 0 ? 0 : data[size - 1] % kFaultPoints;
  const kvfold_backend *oracle = kvfold_backend_named("reference");
  const auto want = fuzz::plan_input(data, size);
  const kvfold_status wanted = fold(want.get(), oracle, fault, true);
  for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
    if (backend == oracle || backend->device != nullptr) continue;
    const auto got = fuzz::plan_input(data, size);
    const kvfold_status status = fold(got.get(), backend, fault, false);
    if (status != wanted) stop(kvfold_status_code(status), "the reference says otherwise");
    if (status != KVFOLD_OK) continue;
    fold(got.get(), backend, fault, true);
    fuzz::compare_folds(*got, *want, *before);
  }
  return 0;
}

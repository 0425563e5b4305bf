// The fault walk: a commit stopped at every point, rolled back, leaves every byte; so does prepare, aborted or faulted.
#include <atomic>
#include <cstdlib>

#include "cases.h"
#include "check.h"
#include "placed.h"

namespace {

constexpr uint32_t kThreads = 3;

kvfold_fold *prepare(const cases::Case &one, const kvfold_backend *backend, kvfold_options *options,
                     kvfold_status expected) {
  kvfold_error error{};
  kvfold_fold *fold = nullptr;
  const kvfold_status status = backend->fold_prepare(&one.target, &one.plan, options, &fold, &error);
  CHECK_MESSAGE(status == expected, error.message);
  CHECK((fold != nullptr) == (status == KVFOLD_OK));
  return fold;
}

void walk_commit(cases::Case *one, const kvfold_backend *backend, uint32_t *walked) {
  const std::vector<cases::Buffer> before = one->snapshot();
  kvfold_faults faults{-1, 0};
  kvfold_options plain{kThreads, nullptr, nullptr, nullptr, 0}, counted{kThreads, nullptr, nullptr, &faults, 0};
  uint32_t half_written = 0;
  for (int64_t point = 0;; point++) {
    kvfold_error error{};
    cases::Placed placed(*one, backend);
    kvfold_fold *fold = prepare(*one, backend, &plain, KVFOLD_OK);
    if (fold == nullptr) return;
    faults = {point, 0};
    const kvfold_status status = backend->fold_commit(fold, &counted, &error);
    placed.fetch();
    CHECK(one->guards_hold());
    if (status != KVFOLD_OK && !one->same_bytes(before)) half_written++;
    CHECK(backend->fold_rollback(fold, &plain, &error) == KVFOLD_OK);
    placed.fetch();
    CHECK_MESSAGE(one->same_bytes(before), one->name.c_str());
    backend->fold_free(fold);
    if (status == KVFOLD_OK) {
      // saved and written in parts, tensor by tensor; each point passed once
      CHECK(point == static_cast<int64_t>(faults.points) && point >= int64_t{8} * one->memory.layer_count);
      *walked += half_written;
      return;
    }
    if (!CHECK(status == KVFOLD_STATUS_FAULT)) return;
  }
}

/// The first half of a commit alone writes nothing; the commit goes on from it, and all of it can be taken back.
void check_save(cases::Case *one, const kvfold_backend *backend) {
  if (backend->fold_save == nullptr) return;
  const std::vector<cases::Buffer> before = one->snapshot();
  std::vector<cases::Buffer> after;
  kvfold_options plain{kThreads, nullptr, nullptr, nullptr, 0};
  kvfold_error error{};
  for (bool saved : {false, true}) {
    cases::Placed placed(*one, backend);
    kvfold_fold *fold = prepare(*one, backend, &plain, KVFOLD_OK);
    if (fold == nullptr) return;
    if (saved) CHECK_MESSAGE(backend->fold_save(fold, &plain, &error) == KVFOLD_OK, error.message);
    placed.fetch();
    CHECK_MESSAGE(one->same_bytes(before), one->name.c_str());
    CHECK_MESSAGE(backend->fold_commit(fold, &plain, &error) == KVFOLD_OK, error.message);
    placed.fetch();
    if (!saved) after = one->snapshot();
    CHECK_MESSAGE(one->same_bytes(after), one->name.c_str());
    CHECK(backend->fold_rollback(fold, &plain, &error) == KVFOLD_OK);
    placed.fetch();
    CHECK_MESSAGE(one->same_bytes(before), one->name.c_str());
    backend->fold_free(fold);
  }
}

int cancel_after(void *left) { return static_cast<std::atomic<int> *>(left)->fetch_sub(1) <= 0; }

void walk_prepare(cases::Case *one, const kvfold_backend *backend) {
  const std::vector<cases::Buffer> before = one->snapshot();
  kvfold_faults faults{-1, 0};
  kvfold_options counted{kThreads, nullptr, nullptr, &faults, 0};
  cases::Placed placed(*one, backend);
  backend->fold_free(prepare(*one, backend, &counted, KVFOLD_OK));
  const uint64_t points = faults.points;
  CHECK(points >= size_t{2} * one->memory.layer_count);
  for (uint64_t point = 0; point < points; point++) {
    faults = {static_cast<int64_t>(point), 0};
    prepare(*one, backend, &counted, KVFOLD_STATUS_FAULT);
  }
  for (int polls = 0; polls < 6; polls++) {
    std::atomic<int> left{polls};
    kvfold_options cancelled{kThreads, cancel_after, &left, nullptr, 0};
    kvfold_error error{};
    kvfold_fold *fold = nullptr;
    const kvfold_status status = backend->fold_prepare(&one->target, &one->plan, &cancelled, &fold, &error);
    CHECK(status == KVFOLD_STATUS_ABORTED || (polls > 0 && status == KVFOLD_OK));
    if (fold != nullptr) backend->fold_free(fold);
  }
  placed.fetch();
  CHECK_MESSAGE(one->same_bytes(before), one->name.c_str());
}

}  // namespace

int main(int count, char **arguments) {
  const uint32_t runs = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 40;
  uint32_t walked = 0;  // commits that were stopped between the first byte and the last
  for (uint32_t seed = 1000; seed < 1000 + runs; seed++) {
    for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
      const auto one = cases::random_case(seed);
      if (seed % 4 == 1) cases::add_fit(one.get(), seed);
      if (seed % 4 == 2) cases::add_values(one.get(), seed);
      walk_commit(one.get(), backend, &walked);
      walk_prepare(one.get(), backend);
      check_save(one.get(), backend);
    }
  }
  CHECK(walked > 4 * runs);
  return check::verdict("faults");
}

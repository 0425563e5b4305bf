// Folds whose rows are streamed past the caches: the CPU backend against the double reference; the same bits for any number
// of threads and with every instruction set that runs here; guard bytes; stopped in the middle and taken back.
#include <cstdlib>

#include "check.h"
#include "common/tensor.h"
#include "compare.h"
#include "cpu/arch/arch.h"

namespace {

size_t written_bytes(const cases::Case &one) {
  size_t bytes = 0;
  for (uint32_t i = 0; i < one.buffers.size(); i++)
    bytes += one.plan.rows * kvfold::tensor_of(one.memory, i / 2, i % 2).row_bytes;
  return bytes;
}

void compare_all(uint32_t seed) {
  const kvfold_backend *cpu = kvfold_backend_named("cpu");
  const auto before = cases::long_case(seed), want = cases::long_case(seed);
  CHECK_MESSAGE(written_bytes(*want) >= size_t{4} << 20, want->name.c_str());
  if (!cases::fold(*want, kvfold_backend_named("reference"), 1)) return;
  std::unique_ptr<cases::Case> first;
  for (size_t k = 0; const kvfold::cpu::Kernels *kernels = kvfold::cpu::kernels_at(k); k++) {
    kvfold::cpu::use_kernels(*kernels);
    for (uint32_t threads : {1, 2, 5}) {
      auto got = cases::long_case(seed);
      if (!cases::fold(*got, cpu, threads)) return;
      CHECK_MESSAGE(got->guards_hold(), got->name.c_str());
      if (first) {
        CHECK_MESSAGE(got->same_bytes(first->buffers), got->name.c_str());
        continue;
      }
      cases::compare(*got, *want, *before);
      first = std::move(got);
    }
  }
}

/// Rows wait to be streamed wherever the work stops.
void stop_and_return(uint32_t seed) {
  const kvfold_backend *cpu = kvfold_backend_named("cpu");
  const auto one = cases::long_case(seed);
  const std::vector<cases::Buffer> before = one->snapshot();
  kvfold_faults faults{-1, 0};
  const kvfold_options plain{3, nullptr, nullptr, nullptr, 0}, counted{3, nullptr, nullptr, &faults, 0};
  kvfold_error error{};
  kvfold_fold *fold = nullptr;
  uint64_t points = 0;
  for (const double part : {2.0, 0.4, 0.6, 0.75, 0.9}) {  // the first one passes all points
    if (!CHECK_MESSAGE(cpu->fold_prepare(&one->target, &one->plan, &plain, &fold, &error) == KVFOLD_OK, error.message))
      return;
    faults = {part > 1 ? -1 : static_cast<int64_t>(part * static_cast<double>(points)), 0};
    const kvfold_status status = cpu->fold_commit(fold, &counted, &error);
    if (part > 1) points = faults.points;
    CHECK(status == (part > 1 ? KVFOLD_OK : KVFOLD_STATUS_FAULT));
    CHECK(cpu->fold_rollback(fold, &plain, &error) == KVFOLD_OK);
    CHECK_MESSAGE(one->same_bytes(before), one->name.c_str());
    cpu->fold_free(fold);
  }
}

}  // namespace

int main(int count, char **arguments) {
  const uint32_t runs = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 4;
  const uint32_t first = 30000 + check::first_seed();
  for (uint32_t seed = first; seed < first + runs && check::failed == 0; seed++) {
    compare_all(seed);
    stop_and_return(seed);
  }
  return check::verdict("long folds");
}

// Folds that write more than the caches should hold, whose rows are streamed: the CPU backend against the double
// reference; the same bits for any number of threads and with every instruction set that runs here; guard bytes.
#include <cstdlib>

#include "check.h"
#include "compare.h"
#include "cpu/arch/arch.h"

namespace {

void run_case(uint32_t seed) {
  const kvfold_backend *cpu = kvfold_backend_named("cpu");
  const auto before = cases::long_case(seed), want = cases::long_case(seed);
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

}  // namespace

int main(int count, char **arguments) {
  const uint32_t runs = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 6;
  const uint32_t first = 30000 + check::first_seed();
  for (uint32_t seed = first; seed < first + runs && check::failed == 0; seed++) run_case(seed);
  return check::verdict("long folds");
}

// Choice of the instruction set, the environment variable KVFOLD_ISA, and the peak of one thread.
#include "isa.h"

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "attention.h"

#if defined(KVFOLD_ATTENTION_X86)
#include "common/x86_features.h"
#endif

namespace kvfold {
namespace attention {
namespace {

struct Choice {
  const Kernels *tables[3] = {nullptr, nullptr, nullptr};
  size_t count = 0;
};

/// KVFOLD_ISA names the best table that may be used; a word that names none means the portable one.
Choice choose() {
  Choice choice;
#if defined(KVFOLD_ATTENTION_X86)
  const char *asked = std::getenv("KVFOLD_ISA");
  const bool any = asked == nullptr || asked[0] == '\0';
  const bool wide = any || std::strcmp(asked, "avx512") == 0;
  const X86Features features = x86_features();
  if (features.avx512 && wide) choice.tables[choice.count++] = &kAvx512Kernels;
  if (features.avx2 && (wide || std::strcmp(asked, "avx2") == 0)) choice.tables[choice.count++] = &kAvx2Kernels;
#endif
#if defined(KVFOLD_ATTENTION_NEON)
  // part of every 64-bit ARM
  const char *asked = std::getenv("KVFOLD_ISA");
  if (asked == nullptr || asked[0] == '\0' || std::strcmp(asked, "neon") == 0)
    choice.tables[choice.count++] = &kNeonKernels;
#endif
  choice.tables[choice.count++] = &kScalarKernels;
  return choice;
}

const Choice &choice() {
  static const Choice chosen = choose();
  return chosen;
}

}  // namespace

const Kernels *kernels_at(size_t index) { return index < choice().count ? choice().tables[index] : nullptr; }

const Kernels *kernels_named(const char *isa) {
  if (isa == nullptr) return kernels_at(0);
  for (size_t i = 0; i < choice().count; i++) {
    if (std::strcmp(choice().tables[i]->isa, isa) == 0) return choice().tables[i];
  }
  return nullptr;
}

}  // namespace attention
}  // namespace kvfold

extern "C" const char *kvfold_attention_isa(uint32_t index) {
  const kvfold::attention::Kernels *kernels = kvfold::attention::kernels_at(index);
  return kernels == nullptr ? nullptr : kernels->isa;
}

extern "C" double kvfold_attention_peak(const char *isa) {
  using Clock = std::chrono::steady_clock;
  const kvfold::attention::Kernels *kernels = kvfold::attention::kernels_named(isa);
  if (kernels == nullptr) return 0.0;
  const size_t rounds = 200000;
  volatile float sink = kernels->burst(rounds);  // wakes the wide units
  double best = 0.0;
  for (const Clock::time_point start = Clock::now(); Clock::now() - start < std::chrono::milliseconds(100);) {
    const Clock::time_point from = Clock::now();
    sink = kernels->burst(rounds);
    const double seconds = std::chrono::duration<double>(Clock::now() - from).count();
    const double rate = static_cast<double>(rounds * kernels->burst_operations) / seconds;
    if (rate > best) best = rate;
  }
  static_cast<void>(sink);
  return best;
}

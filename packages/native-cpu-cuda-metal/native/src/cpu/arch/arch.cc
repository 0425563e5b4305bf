// Which tables of kernels this processor can run, and which of them is used.
#include "cpu/arch/arch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#if defined(KVFOLD_X86_KERNELS)
#include "common/x86_features.h"
#endif

namespace kvfold {
namespace cpu {
namespace {

struct Choice {
  const Kernels *tables[3] = {nullptr, nullptr, nullptr};
  size_t count = 0;
};

/// KVFOLD_ISA names the best table that may be used; a word that names none means the portable one.
bool allows(const char *isa) {
  const char *asked = std::getenv("KVFOLD_ISA");
  if (asked == nullptr || asked[0] == '\0' || std::strcmp(asked, isa) == 0) return true;
  return std::strcmp(isa, "avx2") == 0 && std::strcmp(asked, "avx512") == 0;
}

Choice choose() {
  Choice choice;
#if defined(KVFOLD_X86_KERNELS)
  const X86Features features = x86_features();
  if (features.avx512 && allows("avx512")) choice.tables[choice.count++] = &kAvx512Kernels;
  if (features.avx2 && allows("avx2")) choice.tables[choice.count++] = &kAvx2Kernels;
#elif defined(KVFOLD_NEON_KERNELS)
  if (allows("neon")) choice.tables[choice.count++] = &kNeonKernels;
#else
  static_cast<void>(allows);
#endif
  choice.tables[choice.count++] = &kScalarKernels;
  return choice;
}

const Choice &choice() {
  static const Choice chosen = choose();
  return chosen;
}

std::atomic<const Kernels *> &current() {
  static std::atomic<const Kernels *> table{choice().tables[0]};
  return table;
}

}  // namespace

const Kernels &kernels() { return *current().load(std::memory_order_relaxed); }

const Kernels *kernels_at(size_t index) { return index < choice().count ? choice().tables[index] : nullptr; }

void use_kernels(const Kernels &table) { current().store(&table, std::memory_order_relaxed); }

}  // namespace cpu
}  // namespace kvfold

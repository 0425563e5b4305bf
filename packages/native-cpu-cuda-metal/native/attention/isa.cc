// Detection of the instruction set (CPUID, XGETBV), the environment variable KVFOLD_ISA, and the peak of one thread.
#include "isa.h"

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "attention.h"

#if defined(KVFOLD_ATTENTION_X86)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace kvfold {
namespace attention {
namespace {

#if defined(KVFOLD_ATTENTION_X86)
struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf) {
  Registers r;
#if defined(_MSC_VER)
  int out[4], most[4];
  __cpuid(most, 0);
  if (static_cast<unsigned>(most[0]) < leaf) return r;
  __cpuidex(out, static_cast<int>(leaf), 0);
  r = {static_cast<unsigned>(out[0]), static_cast<unsigned>(out[1]), static_cast<unsigned>(out[2]),
       static_cast<unsigned>(out[3])};
#else
  __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d);
#endif
  return r;
}

/// The registers that the system saves; only to be asked where CPUID says that XGETBV exists.
unsigned saved_registers() {
#if defined(_MSC_VER)
  return static_cast<unsigned>(_xgetbv(0));
#else
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
#endif
}

bool all_of(unsigned bits, unsigned wanted) { return (bits & wanted) == wanted; }

struct Features {
  bool avx2 = false, avx512 = false;
};

Features detect() {
  Features found;
  const Registers one = cpuid(1), seven = cpuid(7);
  const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28;
  if (!all_of(one.c, fma | osxsave | avx)) return found;
  const unsigned saved = saved_registers(), ymm = 0x06u, zmm = 0xe6u;
  const unsigned avx2 = 1u << 5, f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
  found.avx2 = all_of(saved, ymm) && all_of(seven.b, avx2);
  found.avx512 = found.avx2 && all_of(saved, zmm) && all_of(seven.b, f | dq | bw | vl);
  return found;
}
#endif

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
  const Features features = detect();
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

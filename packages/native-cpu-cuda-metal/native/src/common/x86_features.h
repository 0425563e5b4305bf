// What an x86 processor can do (CPUID), and which registers the system saves (XGETBV). The compilers' own
// __builtin_cpu_supports does not know "f16c" in clang 16.
#ifndef KVFOLD_COMMON_X86_FEATURES_H
#define KVFOLD_COMMON_X86_FEATURES_H

#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

namespace kvfold {

/// AVX2 with FMA and F16C; AVX-512 F, VL, BW and DQ.
struct X86Features {
  bool avx2;
  bool avx512;
};

struct CpuidRegisters {
  unsigned a, b, c, d;
};

inline CpuidRegisters read_cpuid(unsigned leaf) {
  CpuidRegisters r = {0, 0, 0, 0};
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

/// Only to be asked where CPUID says that XGETBV exists.
inline unsigned saved_registers() {
#if defined(_MSC_VER)
  return static_cast<unsigned>(_xgetbv(0));
#else
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
#endif
}

inline X86Features x86_features() {
  X86Features found = {false, false};
  const CpuidRegisters one = read_cpuid(1), seven = read_cpuid(7);
  const unsigned needed = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29;  // FMA, OSXSAVE, AVX, F16C
  if ((one.c & needed) != needed) return found;
  const unsigned saved = saved_registers(), ymm = 0x06u, zmm = 0xe6u;
  const unsigned avx2 = 1u << 5, avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  found.avx2 = (saved & ymm) == ymm && (seven.b & avx2) == avx2;
  found.avx512 = found.avx2 && (saved & zmm) == zmm && (seven.b & avx512) == avx512;
  return found;
}

}  // namespace kvfold

#endif

// Detection of the instruction set and the portable table.
#include "cpu/arch/arch.h"

#include <cstdlib>
#include <cstring>

#include "cpu/half.h"

#if defined(KVFOLD_X86_F16C)
#include <cpuid.h>

#include "cpu/arch/x86_f16c.h"
#endif

namespace kvfold {
namespace cpu {
namespace {

void scalar_f16_to_f32(const uint8_t *from, float *to, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    to[i] = f16_to_f32(half);
  }
}

void scalar_f32_to_f16(const float *from, uint8_t *to, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const uint16_t half = f32_to_f16(from[i]);
    std::memcpy(to + 2 * i, &half, 2);
  }
}

const Primitives kScalar = {"scalar", scalar_f16_to_f32, scalar_f32_to_f16};

#if defined(KVFOLD_X86_F16C)
const Primitives kF16c = {"f16c", x86_f16c::f16_to_f32, x86_f16c::f32_to_f16};

/// CPUID says what the processor can do, XGETBV whether the system saves the wide registers. (The compilers' own
/// __builtin_cpu_supports does not know "f16c" in clang 16.)
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
  const unsigned osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
  if ((c & osxsave) == 0 || (c & avx) == 0 || (c & f16c) == 0) return false;
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & 6u) == 6u;
}
#endif

const Primitives *choose() {
#if defined(KVFOLD_X86_F16C)
  const char *asked = std::getenv("KVFOLD_ISA");
  bool allowed = asked == nullptr || asked[0] == '\0';
  static const char *const kWithF16c[] = {"f16c", "avx2", "avx512"};  // the latter two for the attention kernels
  for (const char *isa : kWithF16c) allowed = allowed || std::strcmp(asked, isa) == 0;
  if (allowed && has_f16c()) return &kF16c;
#endif
  return &kScalar;
}

}  // namespace

const Primitives &scalar_primitives() { return kScalar; }

const Primitives &primitives() {
  static const Primitives *chosen = choose();
  return *chosen;
}

}  // namespace cpu
}  // namespace kvfold

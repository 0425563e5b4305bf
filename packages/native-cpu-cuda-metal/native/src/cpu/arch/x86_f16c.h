// F16C conversions; compiled with its own flags, so this header and its source use no C++ library (the linker might
// keep their copy of an inline function for everybody).
#ifndef KVFOLD_CPU_ARCH_X86_F16C_H
#define KVFOLD_CPU_ARCH_X86_F16C_H

#include <stddef.h>
#include <stdint.h>

namespace kvfold {
namespace cpu {
namespace x86_f16c {

void f16_to_f32(const uint8_t *from, float *to, size_t count);
void f32_to_f16(const float *from, uint8_t *to, size_t count);

}  // namespace x86_f16c
}  // namespace cpu
}  // namespace kvfold

#endif

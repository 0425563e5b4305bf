// What differs between instruction sets: a table of row primitives, filled once, best first. KVFOLD_ISA=scalar keeps
// to portable code; the variable never enables what the processor lacks. All tables give the same bits.
#ifndef KVFOLD_CPU_ARCH_ARCH_H
#define KVFOLD_CPU_ARCH_ARCH_H

#include <stddef.h>
#include <stdint.h>

namespace kvfold {
namespace cpu {

struct Primitives {
  const char *isa;
  void (*f16_to_f32)(const uint8_t *from, float *to, size_t count);
  void (*f32_to_f16)(const float *from, uint8_t *to, size_t count);
};

/// The table in use.
const Primitives &primitives();
/// The portable table.
const Primitives &scalar_primitives();

}  // namespace cpu
}  // namespace kvfold

#endif

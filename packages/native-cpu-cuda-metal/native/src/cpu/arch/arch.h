// What differs between instruction sets: one table of kernels each, filled once, best first. KVFOLD_ISA=scalar keeps to
// portable code, avx2 to that; the variable never enables what the processor lacks. All tables give the same bits
// (of NaN only that it is one).
#ifndef KVFOLD_CPU_ARCH_ARCH_H
#define KVFOLD_CPU_ARCH_ARCH_H

#include "cpu/arch/kernels.h"

namespace kvfold {
namespace cpu {

/// The table in use.
const Kernels &kernels();

/// The index-th table that the processor has and KVFOLD_ISA allows, best first, the portable one last; NULL past the
/// end.
const Kernels *kernels_at(size_t index);

/// For tests, while no job runs: uses another table of this processor.
void use_kernels(const Kernels &table);

}  // namespace cpu
}  // namespace kvfold

#endif

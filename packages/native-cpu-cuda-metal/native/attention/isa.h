// Which kernels this processor can run, and which of them to use.
#ifndef KVFOLD_ATTENTION_ISA_H
#define KVFOLD_ATTENTION_ISA_H

#include "kernels.h"

namespace kvfold {
namespace attention {

/// The index-th table that the processor has and KVFOLD_ISA allows, best first; the portable one is always last. NULL
/// past the end.
const Kernels *kernels_at(size_t index);

/// The best table, or the one of that name; NULL if it is not available here.
const Kernels *kernels_named(const char *isa);

}  // namespace attention
}  // namespace kvfold

#endif

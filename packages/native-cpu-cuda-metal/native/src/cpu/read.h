// One slice as floats, shared by reading and by key statistics.
#ifndef KVFOLD_CPU_READ_H
#define KVFOLD_CPU_READ_H

#include "common/tensor.h"
#include "cpu/rope.h"

namespace kvfold {
namespace cpu {

/// out: [dim]. The slice of (slot, head) as it lies, in the basis of the cache.
void decode_slice(const Tensor &tensor, size_t slot, size_t head, float *out);

/// out: [dim]. As `kvfold_read` asks: Hadamard undone, rotation undone.
void read_slice(const kvfold_read &read, const Tensor &tensor, size_t head, size_t cell, Angles *angles, float *out);

}  // namespace cpu
}  // namespace kvfold

#endif

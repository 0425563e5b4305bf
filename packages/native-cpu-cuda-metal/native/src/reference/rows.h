// Slices in double: load, store, rotate, Hadamard. Serial and obvious; what the other backends are compared with.
#ifndef KVFOLD_REFERENCE_ROWS_H
#define KVFOLD_REFERENCE_ROWS_H

#include <vector>

#include "common/tensor.h"

namespace kvfold {
namespace reference {

/// Raw bytes of the slice of (slot, head), gathered from either layout.
void load_slice(const Tensor &tensor, size_t slot, size_t head, uint8_t *bytes);
void store_slice(const Tensor &tensor, size_t slot, size_t head, const uint8_t *bytes);
std::vector<double> decode(const Tensor &tensor, const uint8_t *slice);

/// Turns the rotated channels by the angles `delta * frequency`.
void rotate(const kvfold_memory_layer &layer, double delta, std::vector<double> *key);
/// Normalised Walsh-Hadamard matrix (natural order) on blocks of that many channels; its own inverse.
void hadamard(size_t block, std::vector<double> *values);

}  // namespace reference
}  // namespace kvfold

#endif

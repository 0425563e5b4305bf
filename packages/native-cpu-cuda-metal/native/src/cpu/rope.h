// Re-rotation of keys and the Hadamard transform around it.
#ifndef KVFOLD_CPU_ROPE_H
#define KVFOLD_CPU_ROPE_H

#include <cstddef>
#include <cstdint>

#include "kvfold/memory.h"

namespace kvfold {
namespace cpu {

/// Sines and cosines of one position difference; kept by a thread, because neighbouring heads mostly share it.
struct Angles {
  const double *frequencies = nullptr;
  uint32_t pairs = 0;
  int64_t delta = 0;
  float *cosines = nullptr;  // [rope_dims / 2], storage of the owner
  float *sines = nullptr;

  /// Angles in double, rounded once.
  void set(const kvfold_memory_layer &layer, int64_t new_delta);
};

/// Turns the rotated channels of a key by the angles.
void rotate(const kvfold_memory_layer &layer, const Angles &angles, float *key);

/// Normalised Walsh-Hadamard transform (natural order) of blocks of that many channels; its own inverse; 0: nothing.
void hadamard(size_t block, float *values, size_t count);

}  // namespace cpu
}  // namespace kvfold

#endif

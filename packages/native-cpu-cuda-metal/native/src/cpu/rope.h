// Re-rotation of keys and the Hadamard transform around it.
#ifndef KVFOLD_CPU_ROPE_H
#define KVFOLD_CPU_ROPE_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/arch/arch.h"
#include "kvfold/memory.h"

namespace kvfold {
namespace cpu {

/// Cosines and sines of position differences. The last few are kept by a thread: neighbouring heads and rows mostly
/// share them.
class Angles {
 public:
  static constexpr size_t kKept = 8;

  /// `storage`: [kKept, 2, pairs] floats of the owner.
  void bind(float *storage, size_t pairs) {
    storage_ = storage;
    stride_ = 2 * pairs;
  }
  /// Those of one difference become the current ones.
  void set(const kvfold_memory_layer &layer, int64_t delta);
  const float *cosines() const { return current_; }
  const float *sines() const { return current_ + stride_ / 2; }

 private:
  struct Kept {
    const double *frequencies = nullptr;
    uint32_t pairs = 0;
    int64_t delta = 0;
  };
  Kept kept_[kKept];
  float *storage_ = nullptr;
  const float *current_ = nullptr;
  size_t stride_ = 0;
};

/// Angles with their storage; call bind() where it has come to rest.
struct AngleSpace {
  explicit AngleSpace(size_t dim) : storage(Angles::kKept * (dim + 1)), pairs(dim / 2) {}
  void bind() { angles.bind(storage.data(), pairs); }
  std::vector<float> storage;
  size_t pairs;
  Angles angles;
};

/// Turns the rotated channels of a key by the current angles.
void rotate(const kvfold_memory_layer &layer, const Angles &angles, float *key);

/// Normalised Walsh-Hadamard transform (natural order) of blocks of that many channels; its own inverse; 0: nothing.
void hadamard(size_t block, float *values, size_t count);

}  // namespace cpu
}  // namespace kvfold

#endif

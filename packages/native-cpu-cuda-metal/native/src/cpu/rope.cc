// Re-rotation of keys by R(delta), in f32 with angles from double, and the Hadamard transform in butterflies.
#include "cpu/rope.h"

namespace kvfold {
namespace cpu {

void Angles::set(const kvfold_memory_layer &layer, int64_t delta) {
  const size_t place = static_cast<uint64_t>(delta) % kKept;
  Kept &kept = kept_[place];
  float *cosines = storage_ + place * stride_;
  current_ = cosines;
  const uint32_t pairs = layer.rope_dims / 2;
  if (kept.frequencies == layer.rope_frequencies && kept.pairs == pairs && kept.delta == delta) return;
  kept = {layer.rope_frequencies, pairs, delta};
  kernels().angles(layer.rope_frequencies, static_cast<double>(delta), pairs, cosines, cosines + stride_ / 2);
}

void rotate(const kvfold_memory_layer &layer, const Angles &angles, float *key) {
  kernels().rotate(layer.rope_pairing == KVFOLD_ROPE_INTERLEAVED, layer.rope_dims / 2, angles.cosines(),
                   angles.sines(), key);
}

void hadamard(size_t block, float *values, size_t count) {
  if (block >= 2) kernels().hadamard(block, values, count);
}

}  // namespace cpu
}  // namespace kvfold

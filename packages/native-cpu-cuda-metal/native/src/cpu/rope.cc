// Re-rotation of keys by R(delta), in f32 with angles from double, and the Hadamard transform in butterflies.
#include "cpu/rope.h"

#include <cmath>

namespace kvfold {
namespace cpu {

void Angles::set(const kvfold_memory_layer &layer, int64_t new_delta) {
  if (frequencies == layer.rope_frequencies && pairs == layer.rope_dims / 2 && delta == new_delta) return;
  frequencies = layer.rope_frequencies;
  pairs = layer.rope_dims / 2;
  delta = new_delta;
  for (uint32_t i = 0; i < pairs; i++) {
    const double angle = static_cast<double>(delta) * frequencies[i];
    cosines[i] = static_cast<float>(std::cos(angle));
    sines[i] = static_cast<float>(std::sin(angle));
  }
}

void rotate(const kvfold_memory_layer &layer, const Angles &angles, float *key) {
  const uint32_t pairs = layer.rope_dims / 2;
  const bool interleaved = layer.rope_pairing == KVFOLD_ROPE_INTERLEAVED;
  const uint32_t step = interleaved ? 2 : 1;
  float *second = key + (interleaved ? 1 : pairs);
  for (uint32_t i = 0; i < pairs; i++) {
    const float x = key[i * step], y = second[i * step];
    key[i * step] = x * angles.cosines[i] - y * angles.sines[i];
    second[i * step] = x * angles.sines[i] + y * angles.cosines[i];
  }
}

void hadamard(size_t block, float *values, size_t count) {
  if (block < 2) return;
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
  for (float *base = values; base < values + count; base += block) {
    for (size_t half = 1; half < block; half *= 2) {
      for (size_t i = 0; i < block; i += 2 * half) {
        for (size_t j = i; j < i + half; j++) {
          const float x = base[j], y = base[j + half];
          base[j] = x + y;
          base[j + half] = x - y;
        }
      }
    }
    for (size_t i = 0; i < block; i++) base[i] *= scale;
  }
}

}  // namespace cpu
}  // namespace kvfold

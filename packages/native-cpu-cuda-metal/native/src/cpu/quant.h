// Rows of every storage type to floats and back; the work is done in arch/.
#ifndef KVFOLD_CPU_QUANT_H
#define KVFOLD_CPU_QUANT_H

#include <cstddef>
#include <cstdint>

#include "cpu/arch/arch.h"

namespace kvfold {
namespace cpu {

/// `count` elements, a multiple of 32 for block types.
inline void decode(int32_t type, const uint8_t *from, float *to, size_t count) {
  kernels().decode(type, from, to, count);
}
inline void encode(int32_t type, const float *from, uint8_t *to, size_t count) {
  kernels().encode(type, from, to, count);
}

/// One element of a float type.
inline float decode_element(int32_t type, const uint8_t *from) {
  float value = 0;
  kernels().decode(type, from, &value, 1);
  return value;
}
inline void encode_element(int32_t type, float value, uint8_t *to) { kernels().encode(type, &value, to, 1); }

}  // namespace cpu
}  // namespace kvfold

#endif

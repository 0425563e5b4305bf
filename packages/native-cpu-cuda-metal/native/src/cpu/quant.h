// Rows of every storage type to floats and back.
#ifndef KVFOLD_CPU_QUANT_H
#define KVFOLD_CPU_QUANT_H

#include <cstddef>
#include <cstdint>

namespace kvfold {
namespace cpu {

/// `count` elements, a multiple of 32 for block types.
void decode(int32_t type, const uint8_t *from, float *to, size_t count);
void encode(int32_t type, const float *from, uint8_t *to, size_t count);

/// One element of a float type.
float decode_element(int32_t type, const uint8_t *from);
void encode_element(int32_t type, float value, uint8_t *to);

}  // namespace cpu
}  // namespace kvfold

#endif

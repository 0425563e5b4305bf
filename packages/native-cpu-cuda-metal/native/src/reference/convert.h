// Storage types in double, one obvious element or block at a time.
#ifndef KVFOLD_REFERENCE_CONVERT_H
#define KVFOLD_REFERENCE_CONVERT_H

#include <cstddef>
#include <cstdint>

namespace kvfold {
namespace reference {

double f16_to_double(uint16_t bits);
uint16_t double_to_f16(double value);
uint16_t double_to_bf16(double value);

/// Element `index` of a slice.
double get(int32_t type, const uint8_t *slice, size_t index);
/// Writes a slice of `count` elements, a multiple of 32 for block types.
void put(int32_t type, const double *values, size_t count, uint8_t *slice);

}  // namespace reference
}  // namespace kvfold

#endif

// How far two backends may lie apart; the same derivation as packages/testkit/src/bounds.ts (store, fold).
#ifndef KVFOLD_TESTS_BOUNDS_H
#define KVFOLD_TESTS_BOUNDS_H

#include <cmath>

#include "kvfold/memory.h"

namespace bounds {

/// What storing a value may cost: half an ulp of floats; of block types one step (half a step where both ends are
/// stored), and the rounding of the f16 scale (2^-11 of the largest integer); `largest` = largest |value| of the block.
inline double store(int32_t type, double value, double largest) {
  switch (type) {
    case KVFOLD_F32: return std::ldexp(std::fabs(value), -24) + std::ldexp(1, -150);
    case KVFOLD_F16: return std::ldexp(std::fabs(value), -11) + std::ldexp(1, -25);
    case KVFOLD_BF16: return std::ldexp(std::fabs(value), -8) + std::ldexp(1, -134);
    case KVFOLD_Q8_0: return largest / 127 * (0.5 + 127 * std::ldexp(1, -11)) + 127 * std::ldexp(1, -25);
    case KVFOLD_Q4_0: return largest / 8 * (1 + 8 * std::ldexp(1, -11)) + 8 * std::ldexp(1, -25);
    case KVFOLD_Q5_0: return largest / 16 * (1 + 16 * std::ldexp(1, -11)) + 16 * std::ldexp(1, -25);
    case KVFOLD_Q4_1: return largest * (2.0 / 15 * (0.5 + 15 * std::ldexp(1, -11)) + std::ldexp(1, -11)) + 1e-6;
    default: return largest * (2.0 / 31 * (0.5 + 31 * std::ldexp(1, -11)) + std::ldexp(1, -11)) + 1e-6;
  }
}

/// f32 arithmetic of a row: members + 1 roundoffs of the sum of magnitudes, 8 for a rotation, and log2(b) + 1 for each
/// of the two Hadamard passes over values up to sqrt(b) times as large.
inline double arithmetic(double members, double magnitude, bool rotated, uint32_t hadamard) {
  const double transform = rotated && hadamard > 0 ? 2 * (std::log2(hadamard) + 1) * std::sqrt(hadamard) : 0;
  return (members + 1 + (rotated ? 8 : 0) + transform) * std::ldexp(magnitude, -24);
}

/// Sums of q8_0 in fixed point (common/q8_sums.h): half a unit for the factor and half a one for the product of each
/// member, and 2^-7 of a step. `magnitude` = sum of |w d| * 128 over the members' blocks.
inline double fixed_point(double members, double magnitude, double largest) {
  return members * magnitude / 32640 + std::ldexp(largest / 127, -7);
}

}  // namespace bounds

#endif

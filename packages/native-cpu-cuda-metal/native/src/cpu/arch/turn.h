// Rotations, the Hadamard transform, angles. Plain loops over independent lanes: each file that includes this turns
// them into its own vectors, and no order of additions is left to the compiler.
#ifndef KVFOLD_CPU_ARCH_TURN_H
#define KVFOLD_CPU_ARCH_TURN_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace kvfold {
namespace cpu {

constexpr size_t kAngles = 8;
/// pi / 2 in three parts; the first two have 22 bits, so that their products with quarter turns up to 2^31 are exact.
constexpr double kPart1 = 0x1.921fbp+0, kPart2 = 0x1.5110bp-22, kPart3 = 0x1.18469898cc517p-44;
constexpr double kQuartersOfRadian = 0x1.45f306dc9c883p-1;
/// Adding and subtracting it rounds to an integer, whose two lowest bits are those of the sum.
constexpr double kRounder = 0x1.8p52;
constexpr double kLargestAngle = 0x1p31;

/// Cosines and sines of 8 angles below 2^31 in magnitude, from Taylor series over +-pi/4: the first terms left out are
/// below 3e-14 and 2e-15. No library's cos() is as fast, and those of two systems need not have the same bits.
static inline void cos_sin(const double *angles, float *cosines, float *sines) {
  double even[kAngles], odd[kAngles];
  uint64_t quarter[kAngles];
  for (size_t i = 0; i < kAngles; i++) {
    const double sum = angles[i] * kQuartersOfRadian + kRounder, turns = sum - kRounder;
    memcpy(&quarter[i], &sum, sizeof sum);
    const double x = ((angles[i] - turns * kPart1) - turns * kPart2) - turns * kPart3, y = x * x;
    double c = -1.0 / 87178291200, s = 1.0 / 6227020800;  // 14! and 13!
    c = c * y + 1.0 / 479001600;
    s = s * y - 1.0 / 39916800;
    c = c * y - 1.0 / 3628800;
    s = s * y + 1.0 / 362880;
    c = c * y + 1.0 / 40320;
    s = s * y - 1.0 / 5040;
    c = c * y - 1.0 / 720;
    s = s * y + 1.0 / 120;
    c = c * y + 1.0 / 24;
    s = s * y - 1.0 / 6;
    even[i] = (c * y - 0.5) * y + 1.0;
    odd[i] = (s * y) * x + x;
  }
  for (size_t i = 0; i < kAngles; i++) {
    const bool swapped = (quarter[i] & 1) != 0;
    const double c = swapped ? odd[i] : even[i], s = swapped ? even[i] : odd[i];
    cosines[i] = static_cast<float>(((quarter[i] + 1) & 2) != 0 ? -c : c);
    sines[i] = static_cast<float>((quarter[i] & 2) != 0 ? -s : s);
  }
}

/// The math of one vector type; V only keeps the instances of different files apart.
template <typename V>
struct Turn {
  static void angles(const double *frequencies, double delta, size_t pairs, float *cosines, float *sines) {
    for (size_t at = 0; at < pairs; at += kAngles) {
      const size_t count = pairs - at < kAngles ? pairs - at : kAngles;
      double angle[kAngles] = {0};
      float c[kAngles], s[kAngles];
      bool small = true;
      for (size_t i = 0; i < count; i++) angle[i] = delta * frequencies[at + i];
      for (size_t i = 0; i < count; i++) small = small && angle[i] < kLargestAngle && angle[i] > -kLargestAngle;
      if (small) cos_sin(angle, c, s);
      for (size_t i = 0; i < count && !small; i++) {
        c[i] = static_cast<float>(cos(angle[i]));
        s[i] = static_cast<float>(sin(angle[i]));
      }
      memcpy(cosines + at, c, count * sizeof(float));
      memcpy(sines + at, s, count * sizeof(float));
    }
  }

  static void rotate(bool interleaved, size_t pairs, const float *__restrict cosines, const float *__restrict sines,
                     float *__restrict key) {
    for (size_t i = 0; i < pairs && interleaved; i++) {
      const float x = key[2 * i], y = key[2 * i + 1];
      key[2 * i] = x * cosines[i] - y * sines[i];
      key[2 * i + 1] = x * sines[i] + y * cosines[i];
    }
    if (!interleaved) rotate_halves(pairs, cosines, sines, key, key + pairs);
  }

  static void rotate_halves(size_t pairs, const float *__restrict cosines, const float *__restrict sines,
                            float *__restrict first, float *__restrict second) {
    for (size_t i = 0; i < pairs; i++) {
      const float x = first[i], y = second[i];
      first[i] = x * cosines[i] - y * sines[i];
      second[i] = x * sines[i] + y * cosines[i];
    }
  }

  static void butterflies(size_t half, float *__restrict low, float *__restrict high) {
    for (size_t j = 0; j < half; j++) {
      const float x = low[j], y = high[j];
      low[j] = x + y;
      high[j] = x - y;
    }
  }

  static void hadamard(size_t block, float *values, size_t count) {
    const float scale = static_cast<float>(1.0 / sqrt(static_cast<double>(block)));
    for (float *base = values; base < values + count; base += block) {
      for (size_t half = 1; half < block; half *= 2) {
        for (size_t i = 0; i < block; i += 2 * half) butterflies(half, base + i, base + i + half);
      }
      for (size_t i = 0; i < block; i++) base[i] *= scale;
    }
  }
};

}  // namespace cpu
}  // namespace kvfold

#endif

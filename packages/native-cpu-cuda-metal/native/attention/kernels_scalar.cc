// The portable policy: four floats, products and sums rounded apart. Compilers turn it into whatever the base
// instruction set has.
#include <math.h>
#include <string.h>

#include "kernel_body.h"

namespace kvfold {
namespace attention {
namespace scalar {

struct Vec {
#if defined(__GNUC__)
  typedef float Reg __attribute__((vector_size(16)));
#else
  struct Reg {
    float lane[4];
    float &operator[](size_t i) { return lane[i]; }
    float operator[](size_t i) const { return lane[i]; }
  };
#endif
  static constexpr size_t kWidth = 4, kRows = 4, kVectors = 3;

  static Reg load(const float *from) {
    Reg x;
    memcpy(&x, from, sizeof x);
    return x;
  }
  static void store(float *to, Reg x) { memcpy(to, &x, sizeof x); }
  static Reg set1(float value) { return Reg{value, value, value, value}; }
#if defined(__GNUC__)
  static Reg add(Reg a, Reg b) { return a + b; }
  static Reg sub(Reg a, Reg b) { return a - b; }
  static Reg mul(Reg a, Reg b) { return a * b; }
  static Reg fma(Reg a, Reg b, Reg c) { return a * b + c; }
#else
  static Reg add(Reg a, Reg b) { return each(a, b, [](float x, float y) { return x + y; }); }
  static Reg sub(Reg a, Reg b) { return each(a, b, [](float x, float y) { return x - y; }); }
  static Reg mul(Reg a, Reg b) { return each(a, b, [](float x, float y) { return x * y; }); }
  static Reg fma(Reg a, Reg b, Reg c) { return add(mul(a, b), c); }
#endif
  static Reg max(Reg a, Reg b) {
    return each(a, b, [](float x, float y) { return x > y ? x : y; });
  }
  static Reg scale2(Reg p, Reg t) {
    return each(p, t, [](float x, float y) {
      uint32_t bits, shift;
      memcpy(&bits, &x, 4);
      memcpy(&shift, &y, 4);
      bits += shift << 23;
      memcpy(&x, &bits, 4);
      return x;
    });
  }
  static float sum_lanes(Reg x) { return (x[0] + x[2]) + (x[1] + x[3]); }
  static float max_lanes(Reg x) {
    const float a = x[0] > x[2] ? x[0] : x[2], b = x[1] > x[3] ? x[1] : x[3];
    return a > b ? a : b;
  }
  static void transpose4(const float *from, size_t ld_from, float *to, size_t ld_to) {
    for (size_t r = 0; r < 4; r++)
      for (size_t c = 0; c < 4; c++) to[c * ld_to + r] = from[r * ld_from + c];
  }

 private:
  template <typename Operation>
  static Reg each(Reg a, Reg b, Operation operation) {
    Reg out;
    for (size_t i = 0; i < 4; i++) out[i] = operation(a[i], b[i]);
    return out;
  }
};

}  // namespace scalar

const Kernels kScalarKernels = Body<scalar::Vec>::table("scalar");

}  // namespace attention
}  // namespace kvfold

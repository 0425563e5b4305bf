// The portable table: eight floats that the compiler may lay into whatever vectors every processor has.
#include "cpu/arch/body.h"

namespace kvfold {
namespace cpu {
namespace scalar {

struct Vec {
  struct Reg {
    float x[8];
  };
  static constexpr size_t kWidth = 8;

  template <typename Make>
  static Reg each(const Make &make) {
    Reg reg;
    for (size_t i = 0; i < kWidth; i++) reg.x[i] = make(i);
    return reg;
  }
  static uint16_t bits16(const uint8_t *from) {
    uint16_t bits;
    memcpy(&bits, from, sizeof bits);
    return bits;
  }

  static Reg zero() { return set1(0.0f); }
  static Reg set1(float value) {
    return each([=](size_t) { return value; });
  }
  static Reg load(const float *from) {
    Reg reg;
    memcpy(reg.x, from, sizeof reg.x);
    return reg;
  }
  static void store(float *to, Reg reg) { memcpy(to, reg.x, sizeof reg.x); }
  static Reg load_bytes(const uint8_t *from) {
    Reg reg;
    memcpy(reg.x, from, sizeof reg.x);
    return reg;
  }
  static void store_bytes(uint8_t *to, Reg reg) { memcpy(to, reg.x, sizeof reg.x); }
  static Reg load_f16(const uint8_t *from) {
    return each([=](size_t i) { return half(from + 2 * i); });
  }
  static void store_f16(uint8_t *to, Reg reg) {
    for (size_t i = 0; i < kWidth; i++) store_half(to + 2 * i, reg.x[i]);
  }
  static Reg load_bf16(const uint8_t *from) {
    return each([=](size_t i) { return bf16_to_f32(bits16(from + 2 * i)); });
  }
  static void store_bf16(uint8_t *to, Reg reg) {
    for (size_t i = 0; i < kWidth; i++) {
      const uint16_t bits = f32_to_bf16(reg.x[i]);
      memcpy(to + 2 * i, &bits, sizeof bits);
    }
  }
  /// Signed bytes as floats.
  static Reg load_i8(const uint8_t *from) {
    return each([=](size_t i) { return static_cast<float>(static_cast<int8_t>(from[i])); });
  }
  /// 32 floats between -128 and 128, truncated to signed bytes.
  static void store_levels(uint8_t *to, const Reg *x) {
    for (size_t i = 0; i < 32; i++) to[i] = static_cast<uint8_t>(static_cast<int8_t>(x[i / kWidth].x[i % kWidth]));
  }
  /// 32 floats between -127 and 127, rounded to signed bytes, halves away from zero; NaN gives -127.
  static void store_rounded(uint8_t *to, const Reg *x) {
    Reg level[4];
    for (size_t r = 0; r < 4; r++) level[r] = half_away(greater(x[r], set1(-127.0f)));
    store_levels(to, level);
  }
  /// One f16.
  static float half(const uint8_t *from) { return f16_to_f32(bits16(from)); }
  static void store_half(uint8_t *to, float value) {
    const uint16_t bits = f32_to_f16(value);
    memcpy(to, &bits, sizeof bits);
  }

  /// Every number, of magnitude up to 2^15, as the nearest integer in both halves of a word; halves to even.
  static void store_words(uint32_t *to, Reg x) {
    for (size_t i = 0; i < kWidth; i++) to[i] = (float_to_bits(x.x[i] + 0x1.8p23f) & 0xffff) * 0x10001u;
  }
  /// The scales of that many q8_0 blocks, then 0.
  template <size_t blocks>
  static Reg load_scales(const uint8_t *block) {
    return each([=](size_t i) { return i < blocks ? half(block + 34 * i) : 0.0f; });
  }
  /// round(a b / 2^15), halves up.
  static int16_t product(int a, uint32_t b) {
    return static_cast<int16_t>((a * static_cast<int16_t>(b) + (1 << 14)) >> 15);
  }
  /// sum (+)= round(256 * integers * factor / 2^15), [blocks, 32]; with `first` there is nothing there yet, with `last`
  /// the largest magnitude of every block is left for load_largest(). The order of channels in a sum is a table's own.
  /// Now and then pass(blocks) is called, with how many have been done since. Leaves the lanes behind the blocks.
  template <size_t members, bool first, bool last, typename Pass>
  static void add_levels(const Levels &levels, Lanes *lanes, const Pass &pass) {
    for (size_t b = 0, at = levels.at; b < levels.blocks; b++, at += 34) {
      int16_t *const sum = lanes->sum;
      for (size_t i = 0; i < 32 && first; i++) sum[i] = 0;
      for (size_t m = 0; m < members; m++) {
        const uint8_t *q = levels.from[m] + at;
        for (size_t i = 0; i < 32; i++) {
          const int level = static_cast<int8_t>(q[i]) * 256;
          sum[i] = static_cast<int16_t>(sum[i] + product(level, lanes->factor[m * lanes->stride]));
        }
      }
      if (last) *lanes->largest = largest_of(sum);
      lanes->factor++;
      lanes->sum += 32;
      lanes->largest++;
      pass(1);
    }
  }
  static uint32_t largest_of(const int16_t *sum) {
    int best = 0;
    for (size_t i = 0; i < 32; i++) {
      const int magnitude = sum[i] < 0 ? -sum[i] : sum[i];
      best = magnitude > best ? magnitude : best;
    }
    return static_cast<uint32_t>(best);
  }
  static Reg load_largest(const uint32_t *from) {
    return each([=](size_t i) { return static_cast<float>(from[i]); });
  }
  /// x, from 1 on, times a power of two, which brings it into [2^14, 2^15).
  static Reg normal(Reg x, Reg *shift) {
    *shift = each([=](size_t i) { return bits_to_float(((141u + 127) << 23) - (float_to_bits(x.x[i]) & 0x7f800000)); });
    return each([=](size_t i) { return bits_to_float((float_to_bits(x.x[i]) & 0x7fffff) + (141u << 23)); });
  }
  /// round(sum * shift * inverse / 2^22) as 32 signed bytes.
  static void store_sums(const int16_t *sum, uint32_t shift, uint32_t inverse, uint8_t *to) {
    for (size_t i = 0; i < 32; i++) {
      const int16_t up = static_cast<int16_t>(sum[i] * static_cast<int16_t>(shift));
      to[i] = static_cast<uint8_t>((product(up, inverse) + 64) >> 7);
    }
  }

  static Reg add(Reg a, Reg b) {
    return each([=](size_t i) { return a.x[i] + b.x[i]; });
  }
  static Reg sub(Reg a, Reg b) {
    return each([=](size_t i) { return a.x[i] - b.x[i]; });
  }
  static Reg mul(Reg a, Reg b) {
    return each([=](size_t i) { return a.x[i] * b.x[i]; });
  }
  static Reg div(Reg a, Reg b) {
    return each([=](size_t i) { return a.x[i] / b.x[i]; });
  }
  /// a >= limit ? x : 0
  static Reg at_least(Reg a, float limit, Reg x) {
    return each([=](size_t i) { return a.x[i] >= limit ? x.x[i] : 0.0f; });
  }
  static Reg abs(Reg a) {
    return each([=](size_t i) { return a.x[i] < 0.0f ? -a.x[i] : a.x[i]; });
  }
  /// a > b ? a : b, so b where one of them is NaN.
  static Reg greater(Reg a, Reg b) {
    return each([=](size_t i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
  }
  static Reg less(Reg a, Reg b) {
    return each([=](size_t i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; });
  }
  /// For a truncation that follows: adds the float below 1/2, so that halves go away from zero and nothing less does;
  /// of numbers in [-127, 127].
  static Reg half_away(Reg a) {
    return each([=](size_t i) { return a.x[i] + copysignf(0x1.fffffep-2f, a.x[i]); });
  }
  /// Of lanes that are no NaN.
  static float largest_lane(Reg a) {
    float best = a.x[0];
    for (size_t i = 1; i < kWidth; i++) best = a.x[i] > best ? a.x[i] : best;
    return best;
  }
  /// The largest lanes of four vectors, as the lanes of one.
  static Reg largest_lanes(const Reg *a) {
    return each([=](size_t i) { return largest_lane(a[i % 4]); });
  }
  static float least_lane(Reg a) {
    float best = a.x[0];
    for (size_t i = 1; i < kWidth; i++) best = a.x[i] < best ? a.x[i] : best;
    return best;
  }

  static void stream(uint8_t *to, const uint8_t *from, size_t bytes) { memcpy(to, from, bytes); }
  static void fence() {}
};

}  // namespace scalar

constexpr Kernels kScalarTable = Body<scalar::Vec>::table("scalar", Body<scalar::Vec>::make);
const Kernels kScalarKernels = kScalarTable;

}  // namespace cpu
}  // namespace kvfold

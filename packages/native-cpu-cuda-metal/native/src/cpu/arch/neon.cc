// NEON of every 64-bit ARM processor: four floats. Its conversions of f16 are part of ARMv8.0.
#include <arm_neon.h>

#include "cpu/arch/body.h"

namespace kvfold {
namespace cpu {
namespace neon {

struct Vec {
  using Reg = float32x4_t;
  static constexpr size_t kWidth = 4;

  static uint16x4_t load_words(const uint8_t *from) { return vreinterpret_u16_u8(vld1_u8(from)); }

  static Reg zero() { return vdupq_n_f32(0.0f); }
  static Reg set1(float value) { return vdupq_n_f32(value); }
  static Reg load(const float *from) { return vld1q_f32(from); }
  static void store(float *to, Reg x) { vst1q_f32(to, x); }
  static Reg load_bytes(const uint8_t *from) { return vreinterpretq_f32_u8(vld1q_u8(from)); }
  static void store_bytes(uint8_t *to, Reg x) { vst1q_u8(to, vreinterpretq_u8_f32(x)); }
  static Reg load_f16(const uint8_t *from) { return vcvt_f32_f16(vreinterpret_f16_u16(load_words(from))); }
  static void store_f16(uint8_t *to, Reg x) { vst1_u8(to, vreinterpret_u8_f16(vcvt_f16_f32(x))); }
  static Reg load_bf16(const uint8_t *from) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(load_words(from)), 16));
  }
  static void store_bf16(uint8_t *to, Reg x) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x), top = vshrq_n_u32(bits, 16);
    const uint32x4_t odd = vandq_u32(top, vdupq_n_u32(1));
    const uint32x4_t nearest = vshrq_n_u32(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
    const uint32x4_t quiet = vorrq_u32(top, vdupq_n_u32(0x40));
    vst1_u8(to, vreinterpret_u8_u16(vmovn_u32(vbslq_u32(vceqq_f32(x, x), nearest, quiet))));
  }
  static Reg load_i8(const uint8_t *from) {
    uint32_t four;
    memcpy(&four, from, sizeof four);
    const int16x8_t words = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
  }
  static int16x8_t words(Reg low, Reg high) {
    return vcombine_s16(vmovn_s32(vcvtq_s32_f32(low)), vmovn_s32(vcvtq_s32_f32(high)));
  }
  static void store_levels(uint8_t *to, const Reg *x) {
    for (size_t i = 0; i < 8; i += 4) {
      const int8x16_t bytes = vcombine_s8(vmovn_s16(words(x[i], x[i + 1])), vmovn_s16(words(x[i + 2], x[i + 3])));
      vst1q_u8(to + 4 * i, vreinterpretq_u8_s8(bytes));
    }
  }
  /// Halves away from zero; NaN gives -127.
  static void store_rounded(uint8_t *to, const Reg *x) {
    Reg level[8];
    for (size_t r = 0; r < 8; r++) level[r] = half_away(greater(x[r], set1(-127.0f)));
    store_levels(to, level);
  }
  static float half(const uint8_t *from) {
    uint16_t bits;
    memcpy(&bits, from, sizeof bits);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))), 0);
  }
  static void store_half(uint8_t *to, float value) {
    const uint16_t bits = vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(value))), 0);
    memcpy(to, &bits, sizeof bits);
  }

  static void store_words(uint32_t *to, Reg x) {
    const uint32x4_t bits = vreinterpretq_u32_s32(vcvtnq_s32_f32(x));
    vst1q_u32(to, vsliq_n_u32(bits, bits, 16));
  }
  template <size_t blocks>
  static Reg load_scales(const uint8_t *block) {
    uint16_t half[4] = {0};
    for (size_t b = 0; b < blocks; b++) memcpy(half + b, block + 34 * b, sizeof half[b]);
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(half)));
  }
  /// Channels 0 2 4 .. 14, 1 3 5 .. 15, and the same of the other half.
  template <size_t members, bool first, bool last, typename Pass>
  static void add_levels(const Levels &levels, Lanes *lanes, const Pass &pass) {
    for (size_t b = 0, at = levels.at; b < levels.blocks; b++, at += 34) {
      uint16x8_t best = vdupq_n_u16(0);
      for (size_t half = 0; half < 32; half += 16, lanes->sum += 16) {
        int16_t *const sum = lanes->sum;
        int16x8_t even = first ? vdupq_n_s16(0) : vld1q_s16(sum), odd = first ? even : vld1q_s16(sum + 8);
        for (size_t m = 0; m < members; m++) {
          const int16x8_t q = vreinterpretq_s16_u8(vld1q_u8(levels.from[m] + at + half));
          const int16x8_t by = vdupq_n_s16(static_cast<int16_t>(lanes->factor[m * lanes->stride]));
          even = vaddq_s16(even, vqrdmulhq_s16(vshlq_n_s16(q, 8), by));
          odd = vaddq_s16(odd, vqrdmulhq_s16(vandq_s16(q, vdupq_n_s16(static_cast<int16_t>(0xff00))), by));
        }
        vst1q_s16(sum, even);
        vst1q_s16(sum + 8, odd);
        best = vmaxq_u16(best, vreinterpretq_u16_s16(vabsq_s16(even)));
        best = vmaxq_u16(best, vreinterpretq_u16_s16(vabsq_s16(odd)));
      }
      if (last) *lanes->largest = vmaxvq_u16(best);
      lanes->factor++;
      lanes->largest++;
      pass(1);
    }
  }
  static Reg load_largest(const uint32_t *from) { return vcvtq_f32_u32(vld1q_u32(from)); }
  static Reg normal(Reg x, Reg *shift) {
    const uint32x4_t bits = vreinterpretq_u32_f32(x), exponent = vandq_u32(bits, vdupq_n_u32(0x7f800000));
    *shift = vreinterpretq_f32_u32(vsubq_u32(vdupq_n_u32((141 + 127) << 23), exponent));
    return vreinterpretq_f32_u32(vaddq_u32(vsubq_u32(bits, exponent), vdupq_n_u32(141 << 23)));
  }
  static void store_sums(const int16_t *sum, uint32_t shift, uint32_t inverse, uint8_t *to) {
    const int16x8_t up = vdupq_n_s16(static_cast<int16_t>(shift)), by = vdupq_n_s16(static_cast<int16_t>(inverse));
    for (size_t half = 0; half < 32; half += 16, sum += 16) {
      const int16x8_t even = vrshrq_n_s16(vqrdmulhq_s16(vmulq_s16(vld1q_s16(sum), up), by), 7);
      const int16x8_t odd = vrshrq_n_s16(vqrdmulhq_s16(vmulq_s16(vld1q_s16(sum + 8), up), by), 7);
      vst1q_u8(to + half, vreinterpretq_u8_s16(vsliq_n_s16(even, odd, 8)));
    }
  }

  static Reg add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static Reg sub(Reg a, Reg b) { return vsubq_f32(a, b); }
  static Reg mul(Reg a, Reg b) { return vmulq_f32(a, b); }
  static Reg div(Reg a, Reg b) { return vdivq_f32(a, b); }
  static Reg at_least(Reg a, float limit, Reg x) {
    return vreinterpretq_f32_u32(vandq_u32(vcgeq_f32(a, vdupq_n_f32(limit)), vreinterpretq_u32_f32(x)));
  }
  static Reg abs(Reg a) { return vabsq_f32(a); }
  // not vmaxq_f32: that gives NaN where one of them is NaN
  static Reg greater(Reg a, Reg b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static Reg less(Reg a, Reg b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static Reg half_away(Reg a) {
    const uint32x4_t sign = vandq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x80000000u));
    const uint32x4_t half = vreinterpretq_u32_f32(vdupq_n_f32(0x1.fffffep-2f));
    return vaddq_f32(a, vreinterpretq_f32_u32(vorrq_u32(sign, half)));
  }
  static float largest_lane(Reg a) { return vmaxvq_f32(a); }
  static Reg largest_lanes(const Reg *a) { return vpmaxq_f32(vpmaxq_f32(a[0], a[1]), vpmaxq_f32(a[2], a[3])); }
  static float least_lane(Reg a) { return vminvq_f32(a); }

  static void stream(uint8_t *to, const uint8_t *from, size_t bytes) { memcpy(to, from, bytes); }
  static void fence() {}
};

}  // namespace neon

constexpr Kernels kNeonTable = Body<neon::Vec>::table("neon", Body<neon::Vec>::make);
const Kernels kNeonKernels = kNeonTable;

}  // namespace cpu
}  // namespace kvfold

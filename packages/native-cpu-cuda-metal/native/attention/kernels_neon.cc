// NEON of 64-bit ARM: four floats, thirty-two registers. 4 x 6 accumulators leave eight registers for operands.
#include <arm_neon.h>

#include "kernel_body.h"

namespace kvfold {
namespace attention {
namespace neon {

struct Vec {
  using Reg = float32x4_t;
  static constexpr size_t kWidth = 4, kRows = 4, kVectors = 6;

  static Reg load(const float *from) { return vld1q_f32(from); }
  static void store(float *to, Reg x) { vst1q_f32(to, x); }
  static Reg set1(float value) { return vdupq_n_f32(value); }
  static Reg add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static Reg sub(Reg a, Reg b) { return vsubq_f32(a, b); }
  static Reg mul(Reg a, Reg b) { return vmulq_f32(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
  static Reg max(Reg a, Reg b) { return vmaxq_f32(a, b); }
  static Reg scale2(Reg p, Reg t) {
    const int32x4_t shift = vshlq_n_s32(vreinterpretq_s32_f32(t), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), shift));
  }
  static float sum_lanes(Reg x) {
    const float32x2_t half = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(half, 0) + vget_lane_f32(half, 1);
  }
  static float max_lanes(Reg x) { return vmaxvq_f32(x); }
  static void transpose4(const float *from, size_t ld_from, float *to, size_t ld_to) {
    const float32x4x2_t ab = vtrnq_f32(vld1q_f32(from), vld1q_f32(from + ld_from));
    const float32x4x2_t cd = vtrnq_f32(vld1q_f32(from + 2 * ld_from), vld1q_f32(from + 3 * ld_from));
    for (size_t odd = 0; odd < 2; odd++) {
      vst1q_f32(to + odd * ld_to, vcombine_f32(vget_low_f32(ab.val[odd]), vget_low_f32(cd.val[odd])));
      vst1q_f32(to + (odd + 2) * ld_to, vcombine_f32(vget_high_f32(ab.val[odd]), vget_high_f32(cd.val[odd])));
    }
  }
};

}  // namespace neon

const Kernels kNeonKernels = Body<neon::Vec>::table("neon");

}  // namespace attention
}  // namespace kvfold

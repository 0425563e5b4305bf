// Weighted sums of q8_0 blocks in fixed point: half as many vector instructions as in f32, and the same bits on every
// backend. For a block of 32 channels, and its members m with weights w, scales d and integers q:
//
//     total  = sum |w d|                                   f32
//     factor = round(kQ8Full w d / total)                  16 bits; their magnitudes add up to less than 2^15
//     sum    = sum over m of round(256 q factor / 2^15)    16 bits; x = sum * total * 128 / kQ8Full
//     scale  = max |x| / 127, stored in f16
//     q      = round(127 sum / max |sum|)                  by a 15 bit inverse
//
// Rounding a factor moves x by 1/2 at most in units of total * 128 / kQ8Full, rounding a product by another 1/2:
// together by members * 2^-15 of what the largest members could have added up to. Storing the members had moved them by
// 2^-8. The 15 bit inverse, and rounding to 2^-7 of a step before rounding to steps, add 2^-7 of a step.
#ifndef KVFOLD_COMMON_Q8_SUMS_H
#define KVFOLD_COMMON_Q8_SUMS_H

#include <stddef.h>
#include <stdint.h>

namespace kvfold {

/// Slices with more members of a weight other than 0 are summed in f32.
constexpr size_t kQ8Terms = 64;
/// Leaves room for rounding kQ8Terms factors and products up.
constexpr float kQ8Full = 32640.0f;
/// A smaller total stores a scale of 0.
constexpr float kQ8Least = 0x1p-80f;
/// max |x| / 127 for a largest sum and a total of 1.
constexpr float kQ8Scale = 128.0f / kQ8Full / 127.0f;
/// 127 steps over the largest sum, which has been multiplied by the power of two that brings it into [2^14, 2^15); with
/// 22 bits behind the point.
constexpr float kQ8Steps = 127.0f * 0x1p22f;

}  // namespace kvfold

#endif

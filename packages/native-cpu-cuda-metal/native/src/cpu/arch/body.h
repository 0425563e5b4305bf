// The table of kernels for one vector type. Each file of an instruction set defines its V and instantiates this.
#ifndef KVFOLD_CPU_ARCH_BODY_H
#define KVFOLD_CPU_ARCH_BODY_H

#include "cpu/arch/kernels.h"
#include "cpu/arch/pieces.h"
#include "cpu/arch/storage.h"
#include "cpu/arch/turn.h"

namespace kvfold {
namespace cpu {

template <typename V>
struct Body {
  using Reg = typename V::Reg;
  static constexpr size_t kWidth = V::kWidth, kRegs = kChunk / kWidth;

  static void decode(int32_t type, const uint8_t *from, float *to, size_t count) {
    for_type<V>(type, [=](auto rows) { decltype(rows)::decode(from, to, count); });
  }

  static void encode(int32_t type, const float *from, uint8_t *to, size_t count) {
    for_type<V>(type, [=](auto rows) { decltype(rows)::encode(from, to, count); });
  }

  static void make(int32_t type, const Pieces &pieces, const Runs &ahead, const Stream &behind, size_t count,
                   uint8_t *to) {
    for_type<V>(type, [&](auto rows) { make_pieces<V, decltype(rows)>(pieces, ahead, behind, count, to); });
  }

  static void add_scaled(const float *__restrict row, float weight, float *__restrict sum, size_t count) {
    for (size_t i = 0; i < count; i++) sum[i] += weight * row[i];
  }

  template <typename One>
  static void sum_elements(const uint8_t *lane, const uint32_t *offsets, const uint32_t *slots, const float *weights,
                           size_t rows, uint8_t *out) {
    for (size_t r = 0; r < rows; r++) {
      float sum = 0.0f;
      for (uint32_t m = offsets[r]; m < offsets[r + 1]; m++)
        sum += weights[m] * One::load(lane + size_t{slots[m]} * One::kBytes);
      One::store(out + r * One::kBytes, sum);
    }
  }

  struct OneF32 {
    static constexpr size_t kBytes = 4;
    static float load(const uint8_t *from) {
      float x;
      memcpy(&x, from, sizeof x);
      return x;
    }
    static void store(uint8_t *to, float x) { memcpy(to, &x, sizeof x); }
  };
  struct OneF16 {
    static constexpr size_t kBytes = 2;
    static float load(const uint8_t *from) { return V::half(from); }
    static void store(uint8_t *to, float x) { V::store_half(to, x); }
  };
  struct OneBf16 {
    static constexpr size_t kBytes = 2;
    static float load(const uint8_t *from) {
      uint16_t bits;
      memcpy(&bits, from, sizeof bits);
      return bf16_to_f32(bits);
    }
    static void store(uint8_t *to, float x) {
      const uint16_t bits = f32_to_bf16(x);
      memcpy(to, &bits, sizeof bits);
    }
  };

  static void sum_lane(int32_t type, const uint8_t *lane, const uint32_t *offsets, const uint32_t *slots,
                       const float *weights, size_t rows, uint8_t *out) {
    if (type == KVFOLD_F32) return sum_elements<OneF32>(lane, offsets, slots, weights, rows, out);
    if (type == KVFOLD_F16) return sum_elements<OneF16>(lane, offsets, slots, weights, rows, out);
    sum_elements<OneBf16>(lane, offsets, slots, weights, rows, out);
  }

  static float dot(const float *a, const float *b, size_t count) {
    Chunk<V> total;
    for (auto &lane : total.x) lane = V::zero();
    size_t i = 0;
    for (; i + kChunk <= count; i += kChunk) {
      for (size_t r = 0; r < kRegs; r++)
        total.x[r] = V::add(total.x[r], V::mul(V::load(a + i + r * kWidth), V::load(b + i + r * kWidth)));
    }
    float lanes[kChunk];
    total.store(lanes);
    for (size_t lane = 0; i + lane < count; lane++) lanes[lane] += a[i + lane] * b[i + lane];
    for (size_t half = kChunk / 2; half > 0; half /= 2) {
      for (size_t lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
    }
    return lanes[0];
  }

  static void add_to_mean(const float *__restrict row, float scale, double *__restrict sum, size_t count) {
    for (size_t i = 0; i < count; i++) sum[i] += static_cast<double>(row[i] * scale);
  }

  /// A constant: nothing compiled for an instruction set may run before it is known to be there. `rows` makes pieces of
  /// new rows.
  static constexpr Kernels table(const char *isa, decltype(Kernels::make) rows) {
    return {isa,      decode,         encode,         rows, add_scaled,  sum_lane,  Turn<V>::angles, Turn<V>::rotate,
            Turn<V>::hadamard, dot, add_to_mean, V::stream, V::fence};
  }
};

}  // namespace cpu
}  // namespace kvfold

#endif

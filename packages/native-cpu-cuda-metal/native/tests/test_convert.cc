// Conversions against the double reference: all 65,536 halves, floats around every rounding boundary, block types.
#include <cmath>
#include <cstring>
#include <vector>

#include "bounds.h"
#include "cases.h"
#include "check.h"
#include "common/tensor.h"
#include "cpu/half.h"
#include "cpu/quant.h"
#include "cpu/rope.h"
#include "reference/convert.h"
#include "reference/rows.h"

using namespace kvfold;

namespace {

bool same_number(double a, double b) { return a == b ? std::signbit(a) == std::signbit(b) : a != a && b != b; }

void halves() {
  for (uint32_t bits = 0; bits < 65536; bits++) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = cpu::f16_to_f32(half);
    CHECK(same_number(value, reference::f16_to_double(half)));
    if (value == value) CHECK(cpu::f32_to_f16(value) == half);
  }
}

/// Random bit patterns, and those around every rounding boundary of f16.
std::vector<float> floats() {
  std::vector<float> values = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 65504.0f, 65519.996f, 65520.0f, 1e-45f};
  cases::Random random(7);
  for (int i = 0; i < 200000; i++) {
    const uint32_t high = random.below(65536), low = random.below(65536);
    values.push_back(cpu::bits_to_float(high << 16 | low));
    const uint32_t near = (high << 16 | (random.below(8) << 13)) + random.below(3) - 1;
    values.push_back(cpu::bits_to_float(near));
  }
  return values;
}

void singles() {
  const std::vector<float> values = floats();
  for (float value : values) {
    const uint16_t half = cpu::f32_to_f16(value), brain = cpu::f32_to_bf16(value);
    if (value == value) {
      CHECK(half == reference::double_to_f16(value));
      CHECK(brain == reference::double_to_bf16(value));
    } else {
      CHECK(std::isnan(cpu::f16_to_f32(half)) && std::isnan(cpu::bf16_to_f32(brain)));
    }
  }
}

void blocks() {
  cases::Random random(3);
  for (int32_t type : {KVFOLD_Q8_0, KVFOLD_Q4_0, KVFOLD_Q4_1, KVFOLD_Q5_0, KVFOLD_Q5_1, KVFOLD_F16, KVFOLD_BF16}) {
    const TypeSize size = type_size(type);
    for (int round = 0; round < 400; round++) {
      float x[96], back[96];
      double exact[96], largest[3] = {0, 0, 0};
      const double scale = std::ldexp(1, static_cast<int>(random.below(20)) - 10);
      for (size_t i = 0; i < 96; i++) {
        x[i] = static_cast<float>(round % 7 == 0 ? 0 : scale * random.number());
        exact[i] = x[i];
        largest[i / 32] = std::fmax(largest[i / 32], std::fabs(exact[i]));
      }
      uint8_t a[96 * 4], b[96 * 4];
      const size_t bytes = 96 / size.channels * size.bytes;
      cpu::encode(type, x, a, 96);
      reference::put(type, exact, 96, b);
      cpu::decode(type, a, back, 96);
      for (size_t i = 0; i < 96; i++) {
        CHECK(std::fabs(back[i] - exact[i]) <= bounds::store(type, exact[i], largest[i / 32]) * (1 + 1e-6));
        // reading the same bytes: one product and one sum in f32
        CHECK(std::fabs(back[i] - reference::get(type, a, i)) <= std::ldexp(2 * largest[i / 32], -23));
      }
      if (size.channels == 1) CHECK(std::memcmp(a, b, bytes) == 0);
    }
  }
}

/// NaN, infinities and extremes are encoded into levels of the type, without undefined behaviour (the sanitizers
/// watch); q8_0 never writes -128, which it has no use for.
void garbage() {
  const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, 0.0f, -0.0f};
  for (int32_t type : {KVFOLD_Q8_0, KVFOLD_Q4_0, KVFOLD_Q4_1, KVFOLD_Q5_0, KVFOLD_Q5_1}) {
    for (int mask = 1; mask < 256; mask++) {
      float x[32], back[32];
      double wide[32];
      for (int i = 0; i < 32; i++) wide[i] = x[i] = (mask >> (i % 8)) & 1 ? odd[i % 8] : 1.0f;
      uint8_t fast[34], exact[34];
      cpu::encode(type, x, fast, 32);
      cpu::decode(type, fast, back, 32);
      reference::put(type, wide, 32, exact);
      for (int i = 2; i < 34 && type == KVFOLD_Q8_0; i++) CHECK(fast[i] != 0x80 && exact[i] != 0x80);
    }
  }
}

void hadamard_is_its_own_inverse() {
  cases::Random random(9);
  for (size_t block : {2, 4, 32, 64, 128}) {
    std::vector<double> exact(128);
    std::vector<float> fast(128);
    for (size_t i = 0; i < 128; i++) exact[i] = fast[i] = static_cast<float>(random.number());
    const std::vector<float> before = fast;
    reference::hadamard(block, &exact);
    cpu::hadamard(block, fast.data(), fast.size());
    const double slack = bounds::arithmetic(1, 1, true, static_cast<uint32_t>(block));
    for (size_t i = 0; i < 128; i++) CHECK(std::fabs(fast[i] - exact[i]) <= slack);
    cpu::hadamard(block, fast.data(), fast.size());
    for (size_t i = 0; i < 128; i++) CHECK(std::fabs(fast[i] - before[i]) <= 2 * slack);
  }
}

}  // namespace

int main() {
  halves();
  singles();
  blocks();
  garbage();
  hadamard_is_its_own_inverse();
  return check::verdict("convert");
}

// Storage types in double. Block layouts and rounding rules are ggml's (ggml-quants.c, the `_ref` functions).
#include "reference/convert.h"

#include <cmath>
#include <cstring>

#include "common/tensor.h"

namespace kvfold {
namespace reference {
namespace {

template <typename T>
T load(const uint8_t *bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

template <typename T>
void store(uint8_t *bytes, T value) {
  std::memcpy(bytes, &value, sizeof value);
}

/// Rounds to a binary format with `precision` significant bits and `smallest` as its least normal exponent (of 2).
double round_to(double value, int precision, int smallest) {
  if (value == 0 || !std::isfinite(value)) return value;
  int exponent = 0;
  std::frexp(value, &exponent);  // value = m * 2^exponent, 0.5 <= |m| < 1
  const int step = (exponent - 1 > smallest ? exponent - 1 : smallest) - (precision - 1);
  return std::ldexp(std::nearbyint(std::ldexp(value, -step)), step);
}

int clamp_round(double value, int low, int high) {
  if (!(value > low)) return low;  // NaN as well
  return value < high ? static_cast<int>(value) : high;
}

struct Form {
  bool offset;  // a minimum is stored beside the scale
  int bits;
};

Form form_of(int32_t type) {
  switch (type) {
    case KVFOLD_Q4_0: return {false, 4};
    case KVFOLD_Q4_1: return {true, 4};
    case KVFOLD_Q5_0: return {false, 5};
    case KVFOLD_Q5_1: return {true, 5};
    default: return {false, 8};
  }
}

/// Where a 4- or 5-bit block keeps its parts: d, [m], [fifth bits], nibbles.
struct Parts {
  size_t minimum, fifth, nibbles;
};

Parts parts_of(Form form) {
  const size_t after_scales = form.offset ? 4 : 2;
  return {2, after_scales, after_scales + (form.bits == 5 ? 4 : 0)};
}

double get_small(Form form, const uint8_t *block, size_t i) {
  const Parts parts = parts_of(form);
  const double d = f16_to_double(load<uint16_t>(block));
  int q = i < 16 ? block[parts.nibbles + i] & 15 : block[parts.nibbles + i - 16] >> 4;
  if (form.bits == 5) q |= static_cast<int>((load<uint32_t>(block + parts.fifth) >> i) & 1u) << 4;
  if (form.offset) return q * d + f16_to_double(load<uint16_t>(block + parts.minimum));
  return (q - (1 << (form.bits - 1))) * d;
}

void put_small(Form form, const double *x, uint8_t *block) {
  const Parts parts = parts_of(form);
  const int levels = 1 << form.bits;
  double low = x[0], high = x[0], extreme = 0;
  for (size_t i = 0; i < kBlockChannels; i++) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  const double d = form.offset ? (high - low) / (levels - 1) : extreme / -(levels / 2);
  store<uint16_t>(block, double_to_f16(d));
  if (form.offset) store<uint16_t>(block + parts.minimum, double_to_f16(low));
  uint32_t fifth = 0;
  for (size_t i = 0; i < kBlockChannels; i++) {
    const double steps = d == 0 ? 0 : form.offset ? (x[i] - low) / d : x[i] / d + levels / 2;
    const int q = clamp_round(steps + 0.5, 0, levels - 1);
    uint8_t &byte = block[parts.nibbles + i % 16];
    byte = static_cast<uint8_t>(i < 16 ? (q & 15) : (byte | ((q & 15) << 4)));
    fifth |= static_cast<uint32_t>(q >> 4) << i;
  }
  if (form.bits == 5) store<uint32_t>(block + parts.fifth, fifth);
}

void put_q8(const double *x, uint8_t *block) {
  double largest = 0;
  for (size_t i = 0; i < kBlockChannels; i++) largest = std::fabs(x[i]) > largest ? std::fabs(x[i]) : largest;
  const double d = largest / 127;
  store<uint16_t>(block, double_to_f16(d));
  for (size_t i = 0; i < kBlockChannels; i++) {
    const double q = d == 0 ? 0 : std::round(x[i] / d);
    block[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(clamp_round(q, -127, 127)));
  }
}

}  // namespace

double f16_to_double(uint16_t bits) {
  const double sign = bits & 0x8000u ? -1 : 1;
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  if (exponent == 31) return mantissa != 0 ? std::nan("") : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

uint16_t double_to_f16(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000u : 0;
  if (std::isnan(value)) return static_cast<uint16_t>(sign | 0x7e00u);
  const double magnitude = std::fabs(round_to(value, 11, -14));
  if (magnitude >= 65536) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < std::ldexp(1, -14)) return static_cast<uint16_t>(sign | static_cast<int>(std::ldexp(magnitude, 24)));
  int exponent = 0;
  const double fraction = std::frexp(magnitude, &exponent);  // in [0.5, 1)
  const int mantissa = static_cast<int>(std::ldexp(fraction, 11)) - 1024;
  return static_cast<uint16_t>(sign | ((exponent + 14) << 10) | mantissa);
}

uint16_t double_to_bf16(double value) {
  const double rounded = round_to(value, 8, -126);
  const float narrow = static_cast<float>(rounded);  // exact, or an infinity
  uint32_t bits = 0;
  std::memcpy(&bits, &narrow, sizeof bits);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x0040u);
  return static_cast<uint16_t>(bits >> 16);
}

double get(int32_t type, const uint8_t *slice, size_t index) {
  const TypeSize size = type_size(type);
  const uint8_t *block = slice + index / size.channels * size.bytes;
  const size_t i = index % size.channels;
  switch (type) {
    case KVFOLD_F32: return load<float>(block);
    case KVFOLD_F16: return f16_to_double(load<uint16_t>(block));
    case KVFOLD_BF16: {
      const uint32_t bits = static_cast<uint32_t>(load<uint16_t>(block)) << 16;
      float value = 0;
      std::memcpy(&value, &bits, sizeof value);
      return value;
    }
    case KVFOLD_Q8_0: return f16_to_double(load<uint16_t>(block)) * static_cast<int8_t>(block[2 + i]);
    default: return get_small(form_of(type), block, i);
  }
}

void put(int32_t type, const double *values, size_t count, uint8_t *slice) {
  const TypeSize size = type_size(type);
  for (size_t i = 0; i < count; i += size.channels) {
    uint8_t *block = slice + i / size.channels * size.bytes;
    switch (type) {
      case KVFOLD_F32: store<float>(block, static_cast<float>(values[i])); break;
      case KVFOLD_F16: store<uint16_t>(block, double_to_f16(values[i])); break;
      case KVFOLD_BF16: store<uint16_t>(block, double_to_bf16(values[i])); break;
      case KVFOLD_Q8_0: put_q8(values + i, block); break;
      default: put_small(form_of(type), values + i, block);
    }
  }
}

}  // namespace reference
}  // namespace kvfold

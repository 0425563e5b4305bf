// Kernels: every table that runs here gives the bits of the portable one, for every type, length of tail and number of
// members; angles against the mathematics library; copies past the caches at every alignment.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "bounds.h"
#include "cases.h"
#include "check.h"
#include "common/tensor.h"
#include "cpu/arch/arch.h"
#include "cpu/half.h"

using namespace kvfold;
using cpu::Kernels;

namespace {

constexpr int32_t kTypes[] = {KVFOLD_F32,  KVFOLD_F16,  KVFOLD_BF16, KVFOLD_Q8_0,
                              KVFOLD_Q4_0, KVFOLD_Q4_1, KVFOLD_Q5_0, KVFOLD_Q5_1};
constexpr size_t kGuard = 32;

/// Floats of all magnitudes; one in 16 is odd: an infinity, a zero of either sign, a subnormal, at a boundary of f16.
std::vector<float> floats(size_t count, cases::Random *random) {
  const float odd[] = {0.0f, -0.0f, 1e-45f, -1e-40f, 65504.0f, 65520.0f, 6e-8f, -65519.996f};
  std::vector<float> values(count);
  const int scale = static_cast<int>(random->below(24)) - 14;
  for (float &value : values) {
    value = static_cast<float>(std::ldexp(random->number(), scale));
    if (random->below(16) == 0) value = odd[random->below(8)];
  }
  return values;
}

size_t bytes_of(int32_t type, size_t count) { return count / type_size(type).channels * type_size(type).bytes; }

/// Of block types any number of blocks, else any number of channels.
size_t random_count(int32_t type, cases::Random *random) {
  return is_block_type(type) ? 32 * (1 + random->below(5)) : 1 + random->below(140);
}

/// A result between guards.
struct Guarded {
  std::vector<uint8_t> bytes;
  explicit Guarded(size_t count) : bytes(count + 2 * kGuard, 0xc3) {}
  uint8_t *data() { return bytes.data() + kGuard; }
  float *floats() { return reinterpret_cast<float *>(data()); }
};

bool same(const Guarded &a, const Guarded &b) { return a.bytes == b.bytes; }

void storage(const Kernels &fast, const Kernels &plain, int32_t type, cases::Random *random) {
  const size_t count = random_count(type, random), bytes = bytes_of(type, count);
  const std::vector<float> values = floats(count, random);
  Guarded a(bytes), b(bytes), wide_a(4 * count), wide_b(4 * count);
  fast.encode(type, values.data(), a.data(), count);
  plain.encode(type, values.data(), b.data(), count);
  CHECK_MESSAGE(same(a, b), fast.isa);
  fast.decode(type, b.data(), wide_a.floats(), count);
  plain.decode(type, b.data(), wide_b.floats(), count);
  CHECK_MESSAGE(same(wide_a, wide_b), fast.isa);
}

/// Pieces of sums and copies; their terms, each in memory of its own size.
struct Made {
  std::vector<std::vector<uint8_t>> terms;
  std::vector<const uint8_t *> from, to;
  std::vector<float> weights;
  std::vector<uint32_t> ends;

  Made(const Kernels &plain, int32_t type, size_t count, cases::Random *random) {
    for (size_t pieces = random->below(6); pieces > 0; pieces--) {
      const bool copied = random->below(3) == 0;
      const size_t most = random->below(8) == 0 ? cpu::kMostTerms + 1 : 10;
      for (size_t m = copied ? 1 : random->below(static_cast<uint32_t>(most)); m > 0; m--) {
        std::vector<float> values = floats(count, random);
        for (float &value : values) value = std::fmin(std::fmax(value, -1000.0f), 1000.0f);  // no infinity from f16
        terms.emplace_back(bytes_of(type, count));
        plain.encode(type, values.data(), terms.back().data(), count);
        weights.push_back(copied ? 1.0f : static_cast<float>(2 * random->number()));
      }
      ends.push_back(static_cast<uint32_t>(terms.size()));
    }
    for (const std::vector<uint8_t> &term : terms) from.push_back(term.data());
  }
  cpu::Pieces pieces() const { return {from.data(), weights.data(), ends.data(), ends.size()}; }
  /// Where they lie, each a run of its own.
  cpu::Runs runs() {
    to.clear();
    size_t lines = 0;
    for (const std::vector<uint8_t> &term : terms) {
      to.push_back(term.data() + term.size());
      lines += term.size() / 64 + 1;
    }
    return {from.data(), to.data(), 0, from.size(), lines};
  }
};

/// One after another: decoded, added up, encoded.
void make_slowly(const Kernels &table, int32_t type, const Made &of, size_t count, uint8_t *to) {
  for (size_t piece = 0, m = 0; piece < of.ends.size(); piece++, to += bytes_of(type, count)) {
    std::vector<float> sum(count, 0.0f), row(count);
    if (of.ends[piece] == m + 1 && of.weights[m] == 1.0f) {
      std::memcpy(to, of.from[m++], bytes_of(type, count));
      continue;
    }
    for (; m < of.ends[piece]; m++) {
      table.decode(type, of.from[m], row.data(), count);
      table.add_scaled(row.data(), of.weights[m], sum.data(), count);
    }
    table.encode(type, sum.data(), to, count);
  }
}

/// Sums of q8_0 in fixed point are as near to those in double as their bound says.
void near_exact(const Made &of, size_t count, const uint8_t *got, const char *isa) {
  const auto scale_of = [](const uint8_t *block) {
    uint16_t bits;
    std::memcpy(&bits, block, sizeof bits);
    return static_cast<double>(cpu::f16_to_f32(bits));
  };
  for (size_t piece = 0, begin = 0; piece < of.ends.size(); begin = of.ends[piece++]) {
    for (size_t b = 0; b < count / 32; b++, got += 34) {
      double sum[32] = {0}, magnitude = 0, largest = 0;
      for (size_t m = begin; m < of.ends[piece]; m++) {
        const uint8_t *block = of.from[m] + 34 * b;
        const double by = of.weights[m] * scale_of(block);
        for (size_t i = 0; i < 32; i++) sum[i] += by * static_cast<int8_t>(block[2 + i]);
        magnitude += 128 * std::fabs(by);
      }
      for (double x : sum) largest = std::fmax(largest, std::fabs(x));
      const auto members = static_cast<double>(of.ends[piece] - begin);
      const double bound = bounds::store(KVFOLD_Q8_0, 0, largest) + bounds::arithmetic(members, magnitude, false, 0) +
                           bounds::fixed_point(members, magnitude, largest);
      for (size_t i = 0; i < 32; i++) {
        const double x = scale_of(got) * static_cast<int8_t>(got[2 + i]);
        if (!CHECK_MESSAGE(std::fabs(x - sum[i]) <= bound, isa)) return;
      }
    }
  }
}

void pieces(const Kernels &fast, const Kernels &plain, int32_t type, cases::Random *random) {
  const size_t count = random_count(type, random);
  Made made(plain, type, count, random), ahead(plain, type, count, random);
  const size_t bytes = made.ends.size() * bytes_of(type, count);
  Guarded a(bytes), b(bytes), c(bytes);
  const size_t sent = random->below(3000), shift = random->below(64);
  std::vector<uint8_t> behind(sent + 1);
  for (uint8_t &byte : behind) byte = static_cast<uint8_t>(random->below(256));
  Guarded there(sent + 64), expected(sent + 64);
  std::memcpy(expected.data() + shift, behind.data(), sent);
  fast.make(type, made.pieces(), ahead.runs(), {there.data() + shift, behind.data(), sent}, count, a.data());
  fast.fence();
  plain.make(type, made.pieces(), ahead.runs(), {nullptr, nullptr, 0}, count, b.data());
  CHECK_MESSAGE(same(a, b), fast.isa);
  CHECK_MESSAGE(same(there, expected), fast.isa);
  if (type == KVFOLD_Q8_0) return near_exact(made, count, a.data(), fast.isa);
  make_slowly(fast, type, made, count, c.data());
  CHECK_MESSAGE(same(a, c), fast.isa);
}

/// Pieces without ends, while slices are asked for.
void copies(const Kernels &fast, int32_t type, cases::Random *random) {
  const size_t count = random_count(type, random), bytes = bytes_of(type, count), pieces = random->below(40);
  Guarded cells((pieces + 1) * bytes), made(pieces * bytes), expected(pieces * bytes);
  for (size_t i = 0; i < (pieces + 1) * bytes; i++) cells.data()[i] = static_cast<uint8_t>(random->below(256));
  std::vector<const uint8_t *> from, ahead;
  for (size_t i = 0; i < pieces; i++) {
    from.push_back(cells.data() + random->below(static_cast<uint32_t>(pieces + 1)) * bytes);
    std::memcpy(expected.data() + i * bytes, from.back(), bytes);
  }
  for (size_t i = random->below(40); i > 0; i--)
    ahead.push_back(cells.data() + random->below(static_cast<uint32_t>(pieces + 1)) * bytes);
  fast.make(type, {from.data(), nullptr, nullptr, pieces}, {ahead.data(), nullptr, bytes, ahead.size(), 0},
            {nullptr, nullptr, 0}, count, made.data());
  CHECK_MESSAGE(same(made, expected), fast.isa);
}

void lanes(const Kernels &fast, const Kernels &plain, int32_t type, cases::Random *random) {
  const size_t cells = 1 + random->below(50), rows = random->below(20), bytes = type_size(type).bytes;
  std::vector<float> values = floats(cells, random);
  for (float &value : values) value = std::fmin(std::fmax(value, -1000.0f), 1000.0f);
  std::vector<uint8_t> lane(cells * bytes);
  plain.encode(type, values.data(), lane.data(), cells);
  std::vector<uint32_t> offsets(1, 0), slots;
  std::vector<float> weights;
  for (size_t r = 0; r < rows; r++) {
    for (size_t m = random->below(5); m > 0; m--) {
      slots.push_back(random->below(static_cast<uint32_t>(cells)));
      weights.push_back(static_cast<float>(random->number()));
    }
    offsets.push_back(static_cast<uint32_t>(slots.size()));
  }
  Guarded a(rows * bytes), b(rows * bytes);
  fast.sum_lane(type, lane.data(), offsets.data(), slots.data(), weights.data(), rows, a.data());
  plain.sum_lane(type, lane.data(), offsets.data(), slots.data(), weights.data(), rows, b.data());
  CHECK_MESSAGE(same(a, b), fast.isa);
}

void turns(const Kernels &fast, const Kernels &plain, cases::Random *random) {
  const size_t pairs = 1 + random->below(70), count = 2 * pairs;
  std::vector<double> frequencies(pairs);
  for (double &frequency : frequencies) frequency = std::pow(10000.0, -random->number());
  const double delta = std::floor(std::ldexp(random->number(), static_cast<int>(random->below(32))));
  Guarded a(8 * pairs), b(8 * pairs);
  fast.angles(frequencies.data(), delta, pairs, a.floats(), a.floats() + pairs);
  plain.angles(frequencies.data(), delta, pairs, b.floats(), b.floats() + pairs);
  CHECK_MESSAGE(same(a, b), fast.isa);
  std::vector<float> key = floats(count, random), other = key;
  const bool interleaved = random->coin();
  fast.rotate(interleaved, pairs, a.floats(), a.floats() + pairs, key.data());
  plain.rotate(interleaved, pairs, a.floats(), a.floats() + pairs, other.data());
  CHECK_MESSAGE(std::memcmp(key.data(), other.data(), count * 4) == 0, fast.isa);
  const size_t block = size_t{2} << random->below(8);
  key = floats(2 * block, random);
  other = key;
  fast.hadamard(block, key.data(), key.size());
  plain.hadamard(block, other.data(), other.size());
  CHECK_MESSAGE(std::memcmp(key.data(), other.data(), key.size() * 4) == 0, fast.isa);
}

void reductions(const Kernels &fast, const Kernels &plain, cases::Random *random) {
  const size_t count = 1 + random->below(300);
  const std::vector<float> a = floats(count, random), b = floats(count, random);
  const float x = fast.dot(a.data(), b.data(), count), y = plain.dot(a.data(), b.data(), count);
  CHECK_MESSAGE(std::memcmp(&x, &y, 4) == 0, fast.isa);
  double exact = 0, magnitude = 0;
  for (size_t i = 0; i < count; i++) {
    exact += static_cast<double>(a[i]) * b[i];
    magnitude += std::fabs(static_cast<double>(a[i]) * b[i]);
  }
  // a lane adds count / 32 + 1 products, the tree five more; products may be subnormal
  CHECK(std::fabs(x - exact) <= (count / 32 + 8) * std::ldexp(magnitude, -24) + count * std::ldexp(1, -149));
  std::vector<double> sum(count, 1.0), other(count, 1.0);
  const auto scale = static_cast<float>(random->number());
  fast.add_to_mean(a.data(), scale, sum.data(), count);
  plain.add_to_mean(a.data(), scale, other.data(), count);
  CHECK_MESSAGE(sum == other, fast.isa);
}

void streams(const Kernels &fast, cases::Random *random) {
  const size_t count = random->below(400), shift = random->below(64), from = random->below(64);
  std::vector<uint8_t> source(count + 64), target(count + 192, 0x5a), expected = target;
  for (uint8_t &byte : source) byte = static_cast<uint8_t>(random->below(256));
  if (count > 0) std::memcpy(expected.data() + 64 + shift, source.data() + from, count);
  fast.stream(target.data() + 64 + shift, source.data() + from, count);
  fast.fence();
  CHECK_MESSAGE(target == expected, fast.isa);
}

/// Rounded once: half an ulp of f32 at 1, and what the series leave out.
void angles_are_right(const Kernels &table, int rounds) {
  cases::Random random(5);
  const double bound = std::ldexp(1, -25) + 1e-12;
  for (int i = 0; i < 60 * rounds; i++) {
    const double frequency = std::pow(10000.0, -std::fabs(random.number()));
    const double delta = std::floor(std::ldexp(random.number(), static_cast<int>(random.below(32))));
    float c = 0, s = 0;
    table.angles(&frequency, delta, 1, &c, &s);
    const bool right = std::fabs(c - std::cos(delta * frequency)) <= bound &&
                       std::fabs(s - std::sin(delta * frequency)) <= bound;
    if (!CHECK_MESSAGE(right, table.isa)) return;
  }
  const double huge[] = {0x1p31, -0x1p40, 1e300};  // beyond the series' range
  for (double angle : huge) {
    float c = 0, s = 0;
    table.angles(&angle, 1, 1, &c, &s);
    CHECK(std::fabs(c - std::cos(angle)) <= bound && std::fabs(s - std::sin(angle)) <= bound);
  }
}

/// NaN, infinities and extremes are encoded alike, but for the sign and payload of a NaN scale.
void garbage(const Kernels &fast, const Kernels &plain) {
  const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, 0.0f, -0.0f};
  for (int32_t type : {KVFOLD_Q8_0, KVFOLD_Q4_0, KVFOLD_Q4_1, KVFOLD_Q5_0, KVFOLD_Q5_1}) {
    for (int mask = 1; mask < 256; mask++) {
      float x[32];
      uint8_t a[34] = {0}, b[34] = {0};
      for (int i = 0; i < 32; i++) x[i] = (mask >> (i % 8)) & 1 ? odd[i % 8] : 1.0f;
      fast.encode(type, x, a, 32);
      plain.encode(type, x, b, 32);
      const size_t scales = type == KVFOLD_Q4_1 || type == KVFOLD_Q5_1 ? 4 : 2, bytes = type_size(type).bytes;
      CHECK_MESSAGE(std::memcmp(a + scales, b + scales, bytes - scales) == 0, fast.isa);
      for (size_t i = 0; i < scales; i += 2) {
        uint16_t scale_a, scale_b;
        std::memcpy(&scale_a, a + i, 2);
        std::memcpy(&scale_b, b + i, 2);
        const bool nan = std::isnan(cpu::f16_to_f32(scale_a)) && std::isnan(cpu::f16_to_f32(scale_b));
        CHECK_MESSAGE(scale_a == scale_b || nan, fast.isa);
      }
    }
  }
}

/// Whatever bytes the blocks of a cache hold, all tables add them up to the same levels, and to the same scale but for the
/// sign and payload of a NaN.
void garbage_sums(const Kernels &fast, const Kernels &plain, cases::Random *random) {
  const size_t members = 1 + random->below(9), blocks = 1 + random->below(40);
  std::vector<std::vector<uint8_t>> rows(members, std::vector<uint8_t>(34 * blocks));
  std::vector<const uint8_t *> from;
  std::vector<float> weights;
  for (std::vector<uint8_t> &row : rows) {
    for (uint8_t &byte : row) byte = static_cast<uint8_t>(random->below(256));
    for (size_t b = 0; b < blocks && random->coin(); b++) row[34 * b + 1] &= 0x3f;  // no odd scales
    from.push_back(row.data());
    weights.push_back(static_cast<float>(std::ldexp(random->number(), static_cast<int>(random->below(200)) - 100)));
  }
  const auto ends = static_cast<uint32_t>(members);
  const cpu::Pieces pieces{from.data(), weights.data(), &ends, 1};
  Guarded a(34 * blocks), b(34 * blocks);
  fast.make(KVFOLD_Q8_0, pieces, {nullptr, nullptr, 0, 0, 0}, {nullptr, nullptr, 0}, 32 * blocks, a.data());
  plain.make(KVFOLD_Q8_0, pieces, {nullptr, nullptr, 0, 0, 0}, {nullptr, nullptr, 0}, 32 * blocks, b.data());
  for (size_t i = 0; i < blocks; i++) {
    uint16_t scale_a, scale_b;
    std::memcpy(&scale_a, a.data() + 34 * i, 2);
    std::memcpy(&scale_b, b.data() + 34 * i, 2);
    const bool nan = std::isnan(cpu::f16_to_f32(scale_a)) && std::isnan(cpu::f16_to_f32(scale_b));
    if (nan) std::memcpy(a.data() + 34 * i, &scale_b, 2);
  }
  CHECK_MESSAGE(same(a, b), fast.isa);
}

}  // namespace

int main(int count, char **arguments) {
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 3000;
  const Kernels *plain = cpu::kernels_at(0);
  for (size_t i = 0; cpu::kernels_at(i) != nullptr; i++) plain = cpu::kernels_at(i);
  bool wide = false;
  for (size_t i = 0; const Kernels *fast = cpu::kernels_at(i); i++) {
    std::printf("kernels: %s against %s\n", fast->isa, plain->isa);
    wide = wide || std::strcmp(fast->isa, "avx512") == 0;
    cases::Random random(11);
    for (int round = 0; round < rounds; round++) {
      for (int32_t type : kTypes) {
        storage(*fast, *plain, type, &random);
        pieces(*fast, *plain, type, &random);
        copies(*fast, type, &random);
        if (!is_block_type(type)) lanes(*fast, *plain, type, &random);
      }
      turns(*fast, *plain, &random);
      reductions(*fast, *plain, &random);
      streams(*fast, &random);
      garbage_sums(*fast, *plain, &random);
    }
    garbage(*fast, *plain);
    angles_are_right(*fast, rounds);
  }
  if (!wide) std::printf("skipped: AVX-512 kernels, which this processor or KVFOLD_ISA does not have\n");
  return check::verdict("kernels");
}

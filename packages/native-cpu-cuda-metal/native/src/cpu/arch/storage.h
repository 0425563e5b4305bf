// Storage types over the vectors of one instruction set: rows to floats, floats to rows, weighted sums of rows.
//
//     q8_0  d | 32 signed bytes                 x = q d             error <= d / 2
//     q4_0  d | 16 bytes of nibbles             x = (q - 8) d       <= d at the end opposite to the largest
//     q4_1  d m | 16 bytes of nibbles           x = q d + m         <= d / 2
//     q5_0  d | fifth bits | nibbles            x = (q - 16) d      <= d
//     q5_1  d m | fifth bits | nibbles          x = q d + m         <= d / 2
// Nibble i of the low half is channel i, of the high half channel 16 + i. As ggml does it (ggml-quants.c, the `_ref`
// functions): the scale is stored in f16, the integers are made with the scale before that rounding.
//
// `V` is a vector of floats: see avx2.cc. A chunk is 32 channels in kRegs registers. Where a comparison is false for
// NaN, the second operand is taken: so garbage in a cache gives levels of the type, the same with every table.
#ifndef KVFOLD_CPU_ARCH_STORAGE_H
#define KVFOLD_CPU_ARCH_STORAGE_H

#include "cpu/arch/levels.h"
#include "cpu/arch/pieces.h"
#include "cpu/arch/q8_sums.h"
#include "cpu/half.h"
#include "kvfold/memory.h"

namespace kvfold {
namespace cpu {

constexpr size_t kChunk = 32;
constexpr float kHuge = 3.402823466e38f;

template <typename V>
struct F32 {
  static constexpr size_t kBytes = 4;
  static typename V::Reg load(const uint8_t *from) { return V::load_bytes(from); }
  static void store(uint8_t *to, typename V::Reg x) { V::store_bytes(to, x); }
};

template <typename V>
struct F16 {
  static constexpr size_t kBytes = 2;
  static typename V::Reg load(const uint8_t *from) { return V::load_f16(from); }
  static void store(uint8_t *to, typename V::Reg x) { V::store_f16(to, x); }
};

template <typename V>
struct Bf16 {
  static constexpr size_t kBytes = 2;
  static typename V::Reg load(const uint8_t *from) { return V::load_bf16(from); }
  static void store(uint8_t *to, typename V::Reg x) { V::store_bf16(to, x); }
};

/// Rows of a float type, eight vectors at a time, then one vector at a time, then a padded vector.
template <typename V, typename E>
struct Elements {
  using Reg = typename V::Reg;
  static constexpr size_t kWidth = V::kWidth;

  static size_t bytes(size_t count) { return count * E::kBytes; }

  static void decode(const uint8_t *from, float *to, size_t count) {
    size_t i = 0;
    for (; i + kWidth <= count; i += kWidth) V::store(to + i, E::load(from + i * E::kBytes));
    if (i == count) return;
    uint8_t padded[kWidth * E::kBytes] = {0};
    float wide[kWidth];
    memcpy(padded, from + i * E::kBytes, (count - i) * E::kBytes);
    V::store(wide, E::load(padded));
    memcpy(to + i, wide, (count - i) * sizeof(float));
  }

  static void encode(const float *from, uint8_t *to, size_t count) {
    size_t i = 0;
    for (; i + kWidth <= count; i += kWidth) E::store(to + i * E::kBytes, V::load(from + i));
    if (i == count) return;
    float padded[kWidth] = {0};
    uint8_t narrow[kWidth * E::kBytes];
    memcpy(padded, from + i, (count - i) * sizeof(float));
    E::store(narrow, V::load(padded));
    memcpy(to + i * E::kBytes, narrow, (count - i) * E::kBytes);
  }

  template <size_t regs>
  static void sum_at(const Terms &terms, uint8_t *to, size_t at) {
    Reg sum[regs];
    for (size_t r = 0; r < regs; r++) sum[r] = V::zero();
    for (size_t m = 0; m < terms.count; m++) {
      const Reg weight = V::set1(terms.weights[m]);
      const uint8_t *row = terms.from[m] + at;
      for (size_t r = 0; r < regs; r++)
        sum[r] = V::add(sum[r], V::mul(weight, E::load(row + r * kWidth * E::kBytes)));
    }
    for (size_t r = 0; r < regs; r++) E::store(to + at + r * kWidth * E::kBytes, sum[r]);
  }

  static void sum_rest(const Terms &terms, uint8_t *to, size_t at, size_t bytes) {
    uint8_t padded[kWidth * E::kBytes] = {0};
    Reg total = V::zero();
    for (size_t m = 0; m < terms.count; m++) {
      memcpy(padded, terms.from[m] + at, bytes);
      total = V::add(total, V::mul(V::set1(terms.weights[m]), E::load(padded)));
    }
    E::store(padded, total);
    memcpy(to + at, padded, bytes);
  }

  /// Pieces [begin, end).
  static void sum(const Pieces &pieces, size_t begin, size_t end, uint8_t *to, size_t count,
                  Meanwhile<V> *meanwhile) {
    TermReader reader(pieces, begin);
    for (size_t piece = begin; piece < end; piece++, to += bytes(count)) {
      const Terms terms = reader.next();
      size_t i = 0;
      for (; i + 8 * kWidth <= count; i += 8 * kWidth) {
        sum_at<8>(terms, to, i * E::kBytes);
        meanwhile->made(8 * kWidth * E::kBytes);
      }
      const size_t rest = count - i;
      for (; i + kWidth <= count; i += kWidth) sum_at<1>(terms, to, i * E::kBytes);
      if (i < count) sum_rest(terms, to, i * E::kBytes, (count - i) * E::kBytes);
      if (rest > 0) meanwhile->made(rest * E::kBytes);
    }
  }
};

/// 32 channels in registers.
template <typename V>
struct Chunk {
  using Reg = typename V::Reg;
  static constexpr size_t kWidth = V::kWidth, kRegs = kChunk / kWidth;
  Reg x[kRegs];

  static Chunk load(const float *from) {
    Chunk chunk;
    for (size_t r = 0; r < kRegs; r++) chunk.x[r] = V::load(from + r * kWidth);
    return chunk;
  }
  void store(float *to) const {
    for (size_t r = 0; r < kRegs; r++) V::store(to + r * kWidth, x[r]);
  }

  static Chunk zero() {
    Chunk chunk;
    for (auto &reg : chunk.x) reg = V::zero();
    return chunk;
  }

  /// Lane by lane the largest magnitude that is no NaN.
  Reg magnitudes() const {
    Reg best = V::zero();
    for (size_t r = 0; r < kRegs; r++) best = V::greater(V::abs(x[r]), best);
    return best;
  }
  /// The largest and the least of all lanes that are no NaN, at least `from` and at most `from`.
  static float largest(const Reg *regs, float from) {
    Reg best = V::set1(from);
    for (size_t r = 0; r < kRegs; r++) best = V::greater(regs[r], best);
    return V::largest_lane(best);
  }
  static float least(const Reg *regs, float from) {
    Reg best = V::set1(from);
    for (size_t r = 0; r < kRegs; r++) best = V::less(regs[r], best);
    return V::least_lane(best);
  }
  /// The first channel of the largest magnitude; 0 where all are 0 or NaN.
  float extreme() const {
    const float magnitude = V::largest_lane(magnitudes());
    float lanes[kChunk];
    store(lanes);
    for (size_t i = 0; i < kChunk && magnitude > 0.0f; i++) {
      if (lanes[i] == magnitude || lanes[i] == -magnitude) return lanes[i];
    }
    return 0.0f;
  }
};

constexpr size_t kGroup = 4;

/// Blocks on their way into a row.
template <typename V>
struct Group {
  size_t count;  // at most kGroup
  Chunk<V> block[kGroup];
  float inverse[V::kWidth];    // q8_0: of the scales
  uint8_t scale[2 * V::kWidth];  // in f16
};

template <typename V>
struct Q8 {
  using Reg = typename V::Reg;
  static constexpr size_t kBytes = 34, kWidth = V::kWidth, kRegs = kChunk / kWidth;

  static Chunk<V> decode(const uint8_t *from) {
    const Reg d = V::set1(V::half(from));
    Chunk<V> chunk;
    for (size_t r = 0; r < kRegs; r++) chunk.x[r] = V::mul(V::load_i8(from + 2 + r * kWidth), d);
    return chunk;
  }
  /// The scales of all blocks of a group at once; store() should come later, because divisions take long.
  static void scale(Group<V> *group) {
    Reg best[kGroup];
    for (size_t i = 0; i < kGroup; i++) best[i] = i < group->count ? group->block[i].magnitudes() : V::zero();
    const Reg d = V::div(V::largest_lanes(best), V::set1(127.0f));
    // a scale below the normal numbers is stored as 0; so no level is above 127, and NaN gives -127
    V::store(group->inverse, V::at_least(d, 0x1p-126f, V::div(V::set1(1.0f), d)));
    V::store_f16(group->scale, d);
  }
  static void store(const Group<V> &group, uint8_t *to) {
    for (size_t i = 0; i < group.count; i++, to += kBytes) {
      const Reg inverse = V::set1(group.inverse[i]);
      Reg level[kRegs];
      for (size_t r = 0; r < kRegs; r++) level[r] = V::mul(group.block[i].x[r], inverse);
      memcpy(to, group.scale + 2 * i, 2);
      V::store_rounded(to + 2, level);
    }
  }
};

/// 4 or 5 bits a channel, with or without a stored minimum.
template <typename V, int bits, bool minimum>
struct Small {
  using Reg = typename V::Reg;
  static constexpr size_t kFifth = minimum ? 4 : 2, kNibbles = kFifth + (bits == 5 ? 4 : 0), kBytes = kNibbles + 16;
  static constexpr size_t kWidth = V::kWidth, kRegs = kChunk / kWidth;
  static constexpr float kTop = static_cast<float>((1 << bits) - 1), kMiddle = static_cast<float>(1 << (bits - 1));

  static void levels(const uint8_t *from, uint8_t *to) {
    unpack_nibbles(from + kNibbles, to);
    if (bits == 5) add_fifth_bits(from + kFifth, to);
  }
  static Chunk<V> decode(const uint8_t *from) {
    uint8_t level[kChunk];
    levels(from, level);
    const Reg d = V::set1(V::half(from)), m = V::set1(minimum ? V::half(from + 2) : 0.0f), middle = V::set1(kMiddle);
    Chunk<V> chunk;
    for (size_t r = 0; r < kRegs; r++) {
      const Reg q = V::load_i8(level + r * kWidth);
      chunk.x[r] = minimum ? V::add(V::mul(q, d), m) : V::mul(V::sub(q, middle), d);
    }
    return chunk;
  }
  static void add(const uint8_t *from, float weight, Chunk<V> *sum) {
    const Chunk<V> row = decode(from);
    const Reg scale = V::set1(weight);
    for (size_t r = 0; r < kRegs; r++) sum->x[r] = V::add(sum->x[r], V::mul(row.x[r], scale));
  }
  static void sum(const Terms &terms, size_t at, size_t blocks, Chunk<V> *totals) {
    for (size_t b = 0; b < blocks; b++, at += kBytes) {
      totals[b] = Chunk<V>::zero();
      for (size_t m = 0; m < terms.count; m++) add(terms.from[m] + at, terms.weights[m], &totals[b]);
    }
  }
  static void scale(Group<V> *) {}
  static void store(const Group<V> &group, uint8_t *to) {
    for (size_t i = 0; i < group.count; i++) store_one(group.block[i], to + i * kBytes);
  }
  static void store_one(const Chunk<V> &chunk, uint8_t *to) {
    // + 0: of zeros of both signs the one that is found depends on the number of lanes
    const float low = minimum ? Chunk<V>::least(chunk.x, kHuge) + 0.0f : 0.0f;
    const float high = minimum ? Chunk<V>::largest(chunk.x, -kHuge) + 0.0f : 0.0f;
    const float d = minimum ? (high - low) / kTop : chunk.extreme() / -kMiddle;
    const Reg inverse = V::set1(d != 0.0f ? 1.0f / d : 0.0f), base = V::set1(low);
    const Reg shift = V::set1(minimum ? 0.5f : kMiddle + 0.5f);
    V::store_half(to, d);
    if (minimum) V::store_half(to + 2, low);
    uint8_t level[kChunk];
    Reg clamped[kRegs];
    for (size_t r = 0; r < kRegs; r++) {
      const Reg steps = V::add(V::mul(minimum ? V::sub(chunk.x[r], base) : chunk.x[r], inverse), shift);
      clamped[r] = V::less(V::greater(steps, V::zero()), V::set1(kTop));
    }
    V::store_levels(level, clamped);
    pack_nibbles(level, to + kNibbles);
    if (bits == 5) pack_fifth_bits(level, to + kFifth);
  }
};

/// Rows of a block type.
template <typename V, typename B>
struct Blocks {
  static size_t bytes(size_t count) { return count / kChunk * B::kBytes; }

  static void decode(const uint8_t *from, float *to, size_t count) {
    for (size_t i = 0; i < count; i += kChunk, from += B::kBytes) B::decode(from).store(to + i);
  }
  static void encode(const float *from, uint8_t *to, size_t count) {
    Outgoing out(to);
    for (size_t i = 0; i < count; i += kChunk) {
      *out.next() = Chunk<V>::load(from + i);
      out.add(1);
    }
    out.finish();
  }
  /// Pieces [begin, end); groups do not end where a piece does.
  static void sum(const Pieces &pieces, size_t begin, size_t end, uint8_t *to, size_t count,
                  Meanwhile<V> *meanwhile) {
    Outgoing out(to);
    TermReader reader(pieces, begin);
    for (size_t piece = begin; piece < end; piece++) {
      const Terms terms = reader.next();
      for (size_t at = 0, left = count / kChunk; left > 0;) {
        const size_t blocks = left < out.room() ? left : out.room();
        meanwhile->made(blocks * B::kBytes);
        B::sum(terms, at, blocks, out.next());
        out.add(blocks);
        at += blocks * B::kBytes;
        left -= blocks;
      }
    }
    out.finish();
  }

 private:
  /// Blocks on their way into rows. Groups are stored one late: the scales of one are divided while the next is made.
  struct Outgoing {
    uint8_t *to;
    size_t turn = 0;
    bool waits = false;
    Group<V> groups[2];

    explicit Outgoing(uint8_t *where) : to(where) { groups[0].count = 0; }
    size_t room() const { return kGroup - groups[turn].count; }
    Chunk<V> *next() { return groups[turn].block + groups[turn].count; }
    void add(size_t blocks) {
      groups[turn].count += blocks;
      if (groups[turn].count == kGroup) close();
    }
    void close() {
      B::scale(&groups[turn]);
      store_waiting();
      turn ^= 1;
      waits = true;
      groups[turn].count = 0;
    }
    void store_waiting() {
      if (!waits) return;
      const Group<V> &group = groups[turn ^ 1];
      B::store(group, to);
      to += group.count * B::kBytes;
      waits = false;
    }
    void finish() {
      if (groups[turn].count > 0) close();
      store_waiting();
    }
  };
};

/// Rows of q8_0, whose sums are made in fixed point.
template <typename V>
struct Q8Rows : Blocks<V, Q8<V>> {
  static void sum(const Pieces &pieces, size_t begin, size_t end, uint8_t *to, size_t count,
                  Meanwhile<V> *meanwhile) {
    Q8Sums<V>(pieces, begin, end, count / kChunk, meanwhile).run(to);
  }
};

/// Calls `visit.operator()<Rows>()` for a type; unknown ones are refused by kvfold_check_memory.
template <typename V, typename Visit>
void for_type(int32_t type, const Visit &visit) {
  switch (type) {
    case KVFOLD_F32: return visit(Elements<V, F32<V>>());
    case KVFOLD_F16: return visit(Elements<V, F16<V>>());
    case KVFOLD_BF16: return visit(Elements<V, Bf16<V>>());
    case KVFOLD_Q8_0: return visit(Q8Rows<V>());
    case KVFOLD_Q4_0: return visit(Blocks<V, Small<V, 4, false>>());
    case KVFOLD_Q4_1: return visit(Blocks<V, Small<V, 4, true>>());
    case KVFOLD_Q5_0: return visit(Blocks<V, Small<V, 5, false>>());
    case KVFOLD_Q5_1: return visit(Blocks<V, Small<V, 5, true>>());
    default: return;
  }
}

}  // namespace cpu
}  // namespace kvfold

#endif

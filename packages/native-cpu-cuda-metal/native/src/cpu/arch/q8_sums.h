// Weighted sums of q8_0 rows in fixed point: 16 channels to a vector of 32 bytes, where floats would be eight, and the
// same bits with every table. For a block of 32 channels, member m with weight w, scale d and integers q:
//
//     total  = sum |w d|                                   a float
//     factor = round(32640 w d / total)                    16 bits; their magnitudes add up to 32768 at most
//     sum    = sum over m of round(256 q factor / 2^15)    16 bits; x = sum * total * 128 / 32640
//     scale  = max |x| / 127, stored in f16
//     q      = round(127 sum / max |sum|)                  by a 15 bit inverse
//
// Rounding a factor moves x by 1/2 at most in units of total * 128 / 32640, rounding a product by another 1/2: together
// members * total * 128 / 32640, that is members * 2^-15 of the largest |x| that the members could have added up to. A
// q8_0 block itself has been rounded by 2^-8 of its largest value.
#ifndef KVFOLD_CPU_ARCH_Q8_SUMS_H
#define KVFOLD_CPU_ARCH_Q8_SUMS_H

#include "cpu/arch/pieces.h"
#include "cpu/half.h"

namespace kvfold {
namespace cpu {

/// Blocks that follow each other, of a few members, and what their integers are multiplied by.
struct Levels {
  const uint8_t *const *from;  // of member m the integers of the first block are at from[m] + at
  size_t at;
  const uint32_t *factor;  // of block b and member m: factor[m stride + b]
  size_t stride, blocks;
};

template <typename V>
class Q8Sums {
 public:
  static constexpr size_t kBlockBytes = 34, kChannels = 32;

  /// Pieces [begin, end) of `blocks` blocks each.
  Q8Sums(const Pieces &pieces, size_t begin, size_t end, size_t blocks, Meanwhile<V> *meanwhile)
      : pieces_(pieces), end_(end), blocks_(blocks), meanwhile_(meanwhile), piece_(begin) {}

  /// Group after group; what a step waits for has been computed while an earlier group was added up.
  void run(uint8_t *to) {
    size_t turn = 0;
    gather(&groups_[turn]);
    while (groups_[turn].blocks > 0) {
      const Group &group = groups_[turn];
      turn ^= 1;
      gather(&groups_[turn]);
      Sums &sums = sums_[turn];
      add(group, &sums);
      scale(group, &sums);
      to = store(sums, to);
    }
  }

 private:
  using Reg = typename V::Reg;
  static constexpr size_t kStep = 4, kBlocks = 32, kLanes = kBlocks + V::kWidth;

  /// Some blocks of one piece.
  struct Part {
    Terms terms;
    size_t at;  // bytes of the piece before them
    size_t first, blocks;
  };

  /// Blocks that follow each other in the new rows, of whole pieces where that can be.
  struct Group {
    size_t blocks = 0, parts = 0;
    Part part[kBlocks];
    float total[kLanes];
    uint32_t factor[kMostTerms * kLanes];  // [members, kLanes], twice in every word
  };

  struct Sums {
    size_t blocks;
    alignas(64) int16_t word[kBlocks * kChannels];
    uint32_t largest[kLanes];  // as a table likes it
    uint32_t shift[kLanes], inverse[kLanes];
    uint8_t scale[2 * kLanes];
  };

  void gather(Group *group) {
    size_t first = 0, parts = 0;
    while (piece_ < end_) {
      const size_t left = blocks_ - at_, blocks = left < kBlocks ? left : kBlocks;
      if (first + blocks > kBlocks) break;
      Part &part = group->part[parts++];
      part = {Terms(pieces_, piece_), at_ * kBlockBytes, first, blocks};
      make_factors(part, group);
      first += blocks;
      at_ += blocks;
      if (at_ == blocks_) {
        at_ = 0;
        piece_++;
      }
    }
    group->blocks = first;
    group->parts = parts;
  }

  /// A vector of blocks after another. Lanes behind those of a part belong to the next one, which comes later.
  static void make_factors(const Part &part, Group *group) {
    size_t blocks = part.blocks, at = part.at;
    float *total = group->total + part.first;
    uint32_t *factor = group->factor + part.first;
    while (blocks >= V::kWidth) {
      make_lanes<V::kWidth>(part.terms, at, total, factor);
      blocks -= V::kWidth;
      at += V::kWidth * kBlockBytes;
      total += V::kWidth;
      factor += V::kWidth;
    }
    if (blocks > 0) make_few_lanes<V::kWidth - 1>(blocks, part.terms, at, total, factor);
  }
  template <size_t most>
  static void make_few_lanes(size_t blocks, const Terms &terms, size_t at, float *total, uint32_t *factor) {
    if constexpr (most > 0) {
      if (blocks == most) make_lanes<most>(terms, at, total, factor);
      else make_few_lanes<most - 1>(blocks, terms, at, total, factor);
    }
  }
  template <size_t blocks>
  static void make_lanes(const Terms &terms, size_t at, float *total, uint32_t *factor) {
    float products[kMostTerms * V::kWidth];
    Reg sum = V::zero();
    each_term(terms.count, [&](size_t m) {
      const Reg product = V::mul(V::set1(terms.weights[m]), V::template load_scales<blocks>(terms.from[m] + at));
      V::store(products + m * V::kWidth, product);
      sum = V::add(sum, V::abs(product));
    });
    V::store(total, sum);
    const Reg unit = V::at_least(sum, 0x1p-80f, V::div(V::set1(32640.0f), sum));
    each_term(terms.count, [&](size_t m) {
      const Reg share = V::mul(V::load(products + m * V::kWidth), unit);
      V::store_words(factor + m * kLanes, V::greater(share, V::set1(-32767.0f)));
    });
  }
  /// Four at a time.
  template <typename Work>
  static void each_term(size_t count, const Work &work) {
    size_t m = 0;
    for (; m + 4 <= count; m += 4) {
      work(m);
      work(m + 1);
      work(m + 2);
      work(m + 3);
    }
    for (; m < count; m++) work(m);
  }

  void add(const Group &group, Sums *sums) {
    sums->blocks = group.blocks;
    for (size_t i = 0; i < group.parts; i++) {
      const Part &part = group.part[i];
      for (size_t b = 0, blocks; b < part.blocks; b += blocks) {
        const size_t lane = part.first + b;
        blocks = part.blocks - b < kStep ? part.blocks - b : kStep;
        add_terms(part.terms, part.at + b * kBlockBytes + 2, group.factor + lane, blocks, sums->word + lane * kChannels,
                  sums->largest + lane);
        made_ += blocks;
        if (made_ >= kStep) pass_on();
      }
    }
  }
  void pass_on() {
    meanwhile_->made(made_ * kBlockBytes);
    made_ = 0;
  }

  static void add_terms(const Terms &terms, size_t at, const uint32_t *factor, size_t blocks, int16_t *word,
                        uint32_t *largest) {
    if (terms.count <= 4) return add_some<true>(terms.count, {terms.from, at, factor, kLanes, blocks}, word, largest);
    V::template add_levels<4, true, false>({terms.from, at, factor, kLanes, blocks}, word, largest);
    size_t m = 4;
    for (; m + 4 < terms.count; m += 4)
      V::template add_levels<4, false, false>({terms.from + m, at, factor + m * kLanes, kLanes, blocks}, word, largest);
    add_some<false>(terms.count - m, {terms.from + m, at, factor + m * kLanes, kLanes, blocks}, word, largest);
  }
  /// The last ones.
  template <bool first>
  static void add_some(size_t members, const Levels &levels, int16_t *word, uint32_t *largest) {
    switch (members) {
      case 0: return V::template add_levels<0, first, true>(levels, word, largest);
      case 1: return V::template add_levels<1, first, true>(levels, word, largest);
      case 2: return V::template add_levels<2, first, true>(levels, word, largest);
      case 3: return V::template add_levels<3, first, true>(levels, word, largest);
      default: return V::template add_levels<4, first, true>(levels, word, largest);
    }
  }

  /// Multiplied by the power of two `shift` the largest magnitude is in [2^14, 2^15), so its inverse has 15 bits.
  static void scale(const Group &group, Sums *sums) {
    for (size_t b = 0; b < group.blocks; b += V::kWidth) {
      const Reg largest = V::load_largest(sums->largest + b);
      const Reg unit = V::mul(V::load(group.total + b), V::set1(128.0f / 32640.0f / 127.0f));
      V::store_f16(sums->scale + 2 * b, V::mul(largest, unit));
      Reg shift;
      const Reg normal = V::normal(V::greater(largest, V::set1(1.0f)), &shift);
      V::store_words(sums->shift + b, shift);
      V::store_words(sums->inverse + b, V::div(V::set1(127.0f * 0x1p22f), normal));
    }
  }

  static uint8_t *store(const Sums &sums, uint8_t *to) {
    const auto one = [&](size_t b, uint8_t *block) {
      memcpy(block, sums.scale + 2 * b, 2);
      V::store_sums(sums.word + b * kChannels, sums.shift[b], sums.inverse[b], block + 2);
    };
    size_t b = 0;
    for (; b + 2 <= sums.blocks; b += 2, to += 2 * kBlockBytes) {
      one(b, to);
      one(b + 1, to + kBlockBytes);
    }
    if (b == sums.blocks) return to;
    one(b, to);
    return to + kBlockBytes;
  }

  const Pieces &pieces_;
  const size_t end_, blocks_;
  Meanwhile<V> *const meanwhile_;
  size_t piece_, at_ = 0;  // the next to be gathered
  size_t made_ = 0;        // blocks that `meanwhile` does not know of
  Group groups_[2];
  Sums sums_[2];
};

}  // namespace cpu
}  // namespace kvfold

#endif

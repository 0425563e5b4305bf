// Weighted sums of q8_0 blocks (common/q8_sums.h) in vectors. Steps that wait for each other run over some blocks at
// once, and the factors of those that come next are made before.
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
    while (groups_[turn].parts > 0) {
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
  static constexpr size_t kStep = 6, kBlocks = 32, kLanes = kBlocks + V::kWidth;
  /// Of the bytes of a block, so that memory does not rest during any step.
  static constexpr size_t kGatherShare = 8, kStoreShare = 8, kAddShare = kBlockBytes - kGatherShare - kStoreShare;

  /// Blocks that follow each other in the new rows: those of some pieces, or as many of one long piece.
  struct Group {
    size_t piece, parts, each;  // pieces from `piece` on, and blocks of each
    size_t at;                  // bytes of a piece before them
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
    group->parts = 0;
    if (piece_ == end_) return;
    group->piece = piece_;
    group->at = at_ * kBlockBytes;
    if (blocks_ <= kBlocks) {
      const size_t left = end_ - piece_, most = kBlocks / blocks_;
      group->each = blocks_;
      group->parts = left < most ? left : most;
      piece_ += group->parts;
    } else {
      const size_t left = blocks_ - at_;
      group->each = left < kBlocks ? left : kBlocks;
      group->parts = 1;
      at_ += group->each;
      if (at_ == blocks_) {
        at_ = 0;
        piece_++;
      }
    }
    for (size_t i = 0; i < group->parts; i++) {
      make_factors(Terms(pieces_, group->piece + i), i * group->each, group);
      gathered_ += group->each;
      if (gathered_ < 2 * kStep) continue;
      meanwhile_->made(gathered_ * kGatherShare);
      gathered_ = 0;
    }
  }

  /// A vector of blocks after another. Lanes behind those of a part belong to the next one, which comes later.
  static void make_factors(const Terms &terms, size_t lane, Group *group) {
    size_t blocks = group->each, at = group->at;
    float *total = group->total + lane;
    uint32_t *factor = group->factor + lane;
    for (; blocks >= V::kWidth; blocks -= V::kWidth) {
      make_lanes<V::kWidth>(terms, at, total, factor);
      at += V::kWidth * kBlockBytes;
      total += V::kWidth;
      factor += V::kWidth;
    }
    if (blocks > 0) make_few_lanes<V::kWidth - 1>(blocks, terms, at, total, factor);
  }
  /// In halves, so that no number of blocks is asked for last.
  template <size_t most, size_t least = 1>
  static void make_few_lanes(size_t blocks, const Terms &terms, size_t at, float *total, uint32_t *factor) {
    constexpr size_t middle = (least + most + 1) / 2;
    if constexpr (least == most) make_lanes<most>(terms, at, total, factor);
    else if (blocks >= middle) make_few_lanes<most, middle>(blocks, terms, at, total, factor);
    else make_few_lanes<middle - 1, least>(blocks, terms, at, total, factor);
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
    const Reg unit = V::at_least(sum, kQ8Least, V::div(V::set1(kQ8Full), sum));
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
    const size_t each = group.each;
    sums->blocks = group.parts * each;
    for (size_t i = 0, lane = 0; i < group.parts; i++, lane += each) {
      const Terms terms(pieces_, group.piece + i);
      add_terms(terms.count, {terms.from, group.at + 2, group.factor + lane, kLanes, each},
                sums->word + lane * kChannels, sums->largest + lane);
    }
  }

  /// Four members at a time.
  void add_terms(size_t count, Levels levels, int16_t *word, uint32_t *largest) {
    if (count <= 4) return add_some<true>(count, levels, word, largest);
    const auto nothing = [](size_t) {};
    V::template add_levels<4, true, false>(levels, word, largest, nothing);
    for (count -= 4;; count -= 4) {
      levels.from += 4;
      levels.factor += 4 * levels.stride;
      if (count <= 4) return add_some<false>(count, levels, word, largest);
      V::template add_levels<4, false, false>(levels, word, largest, nothing);
    }
  }
  /// The last ones.
  template <bool first>
  void add_some(size_t members, const Levels &levels, int16_t *word, uint32_t *largest) {
    const auto pass = [this](size_t blocks) {
      added_ += blocks;
      if (added_ < kStep) return;
      meanwhile_->made(added_ * kAddShare);
      added_ = 0;
    };
    switch (members) {
      case 0: return V::template add_levels<0, first, true>(levels, word, largest, pass);
      case 1: return V::template add_levels<1, first, true>(levels, word, largest, pass);
      case 2: return V::template add_levels<2, first, true>(levels, word, largest, pass);
      case 3: return V::template add_levels<3, first, true>(levels, word, largest, pass);
      default: return V::template add_levels<4, first, true>(levels, word, largest, pass);
    }
  }

  /// Multiplied by the power of two `shift` the largest magnitude is in [2^14, 2^15), so its inverse has 15 bits.
  static void scale(const Group &group, Sums *sums) {
    for (size_t b = 0; b < sums->blocks; b += V::kWidth) {
      const Reg largest = V::load_largest(sums->largest + b);
      const Reg unit = V::mul(V::load(group.total + b), V::set1(kQ8Scale));
      V::store_f16(sums->scale + 2 * b, V::mul(largest, unit));
      Reg shift;
      const Reg normal = V::normal(V::greater(largest, V::set1(1.0f)), &shift);
      V::store_words(sums->shift + b, shift);
      V::store_words(sums->inverse + b, V::div(V::set1(kQ8Steps), normal));
    }
  }

  uint8_t *store(const Sums &sums, uint8_t *to) {
    const auto one = [&](size_t b, uint8_t *block) {
      memcpy(block, sums.scale + 2 * b, 2);
      V::store_sums(sums.word + b * kChannels, sums.shift[b], sums.inverse[b], block + 2);
    };
    size_t b = 0;
    for (; b + 2 <= sums.blocks; b += 2, to += 2 * kBlockBytes) {
      one(b, to);
      one(b + 1, to + kBlockBytes);
      if (b % 8 == 6) meanwhile_->made(8 * kStoreShare);
    }
    if (b == sums.blocks) return to;
    one(b, to);
    return to + kBlockBytes;
  }

  const Pieces &pieces_;
  const size_t end_, blocks_;
  Meanwhile<V> *const meanwhile_;
  size_t piece_, at_ = 0;            // the next to be gathered
  size_t gathered_ = 0, added_ = 0;  // blocks that `meanwhile` does not know of
  Group groups_[2];
  Sums sums_[2];
};

}  // namespace cpu
}  // namespace kvfold

#endif

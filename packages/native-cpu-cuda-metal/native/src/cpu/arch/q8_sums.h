// Weighted sums of q8_0 blocks (common/q8_sums.h) in vectors. Steps that wait for each other run over some blocks at
// once, and the factors of those that come next are made before.
#ifndef KVFOLD_CPU_ARCH_Q8_SUMS_H
#define KVFOLD_CPU_ARCH_Q8_SUMS_H

#include <type_traits>

#include "cpu/arch/pieces.h"
#include "cpu/half.h"

namespace kvfold {
namespace cpu {

/// Blocks of a piece: of member m the integers of the first are at from[m] + at.
struct Levels {
  const uint8_t *const *from;
  size_t at, blocks;
};

/// Where the sums of one block after another go, and what is known of it.
struct Lanes {
  const uint32_t *factor;  // of member m: factor[m stride]
  size_t stride;
  int16_t *sum;       // [32]
  uint32_t *largest;
};

template <typename V>
class Q8Sums {
 public:
  static constexpr size_t kBlockBytes = 34, kChannels = 32;

  /// Pieces [begin, end) of `blocks` blocks each.
  Q8Sums(const Pieces &pieces, size_t begin, size_t end, size_t blocks, Meanwhile<V> *meanwhile)
      : blocks_(blocks), meanwhile_(meanwhile), reader_(pieces, begin), left_(end - begin) {}

  /// Group after group; what a step waits for has been computed while an earlier group was added up.
  void run(uint8_t *to) {
    size_t turn = 0;
    gather(&groups_[turn]);
    while (groups_[turn].parts > 0) {
      const Group &group = groups_[turn];
      turn ^= 1;
      gather(&groups_[turn]);
      add(group, &sums_);
      scale(group, &sums_);
      to = store(sums_, to);
    }
  }

 private:
  using Reg = typename V::Reg;
  static constexpr size_t kBlocks = 64, kLanes = kBlocks + V::kWidth;
  /// Blocks that are stored before memory gets its share of work.
  static constexpr size_t kStep = 8;
  /// Of the bytes of a block, so that memory does not rest during any step.
  static constexpr size_t kGatherShare = 8, kStoreShare = 8, kAddShare = kBlockBytes - kGatherShare - kStoreShare;

  /// Blocks that follow each other in the new rows: those of some pieces, or as many of one long piece.
  struct Group {
    size_t parts, each;  // pieces, and blocks of each
    size_t at;           // bytes of a piece before them
    const uint8_t *const *from[kBlocks];  // [parts] terms
    size_t count[kBlocks];                // [parts] and how many
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
    if (left_ == 0) return;
    group->at = at_ * kBlockBytes;
    if (blocks_ <= kBlocks) {
      const size_t most = kBlocks / blocks_;
      group->each = blocks_;
      group->parts = left_ < most ? left_ : most;
      left_ -= group->parts;
    } else {
      const size_t left = blocks_ - at_;
      group->each = left < kBlocks ? left : kBlocks;
      group->parts = 1;
      at_ = left == group->each ? 0 : at_ + group->each;
      left_ -= at_ == 0;
    }
    make_factors<0, V::kWidth - 1>(group->each % V::kWidth, group);
  }

  /// In halves, so that no number of blocks is asked for last.
  template <size_t least, size_t most>
  void make_factors(size_t rest, Group *group) {
    constexpr size_t middle = (least + most + 1) / 2;
    if constexpr (least == most) make_factors_of<most>(group);
    else if (rest >= middle) make_factors<middle, most>(rest, group);
    else make_factors<least, middle - 1>(rest, group);
  }
  /// A vector of blocks after another. Lanes behind those of a part belong to the next one, which comes later.
  template <size_t rest>
  KVFOLD_NOINLINE void make_factors_of(Group *group) {
    const size_t vectors = group->each / V::kWidth, parts = group->parts;
    float *total = group->total;
    uint32_t *factor = group->factor;
    for (size_t i = 0; i < parts; i++) {
      size_t at = group->at;
      if (at == 0) terms_ = reader_.next();
      const Terms terms = terms_;
      group->from[i] = terms.from;
      group->count[i] = terms.count;
      for (size_t v = 0; v < vectors; v++) {
        make_lanes<V::kWidth>(terms, at, total, factor);
        at += V::kWidth * kBlockBytes;
        total += V::kWidth;
        factor += V::kWidth;
      }
      if constexpr (rest > 0) make_lanes<rest>(terms, at, total, factor);
      total += rest;
      factor += rest;
    }
  }
  /// Products of four members stay in registers.
  template <size_t blocks>
  KVFOLD_INLINE void make_lanes(const Terms &terms, size_t at, float *total, uint32_t *factor) {
    if (terms.count == 4) make_lanes_of<blocks>(std::integral_constant<size_t, 4>(), terms, at, total, factor);
    else make_lanes_of<blocks>(terms.count, terms, at, total, factor);
    meanwhile_->made(blocks * kGatherShare);
  }
  template <size_t blocks, typename Count>
  static KVFOLD_INLINE void make_lanes_of(Count count, const Terms &terms, size_t at, float *total, uint32_t *factor) {
    Reg product[kMostTerms], sum = V::zero();
    for (size_t m = 0; m < count; m++) {
      product[m] = V::mul(V::set1(terms.weights[m]), V::template load_scales<blocks>(terms.from[m] + at));
      sum = V::add(sum, V::abs(product[m]));
    }
    V::store(total, sum);
    const Reg unit = V::at_least(sum, kQ8Least, V::div(V::set1(kQ8Full), sum));
    for (size_t m = 0; m < count; m++)
      V::store_words(factor + m * kLanes, V::greater(V::mul(product[m], unit), V::set1(-32767.0f)));
  }

  void add(const Group &group, Sums *sums) {
    sums->blocks = group.parts * group.each;
    for (size_t i = 0, end = 0; i < group.parts; i = end) {
      const size_t count = group.count[i];
      for (end = i + 1; end < group.parts && group.count[end] == count;) end++;
      switch (count) {
        case 1: add_alike<1>(group, i, end, sums); break;
        case 2: add_alike<2>(group, i, end, sums); break;
        case 3: add_alike<3>(group, i, end, sums); break;
        case 4: add_alike<4>(group, i, end, sums); break;
        default: add_many(group, i, end, sums);
      }
    }
  }
  /// Parts [begin, end), all of them of that many members.
  template <size_t members>
  KVFOLD_NOINLINE void add_alike(const Group &group, size_t begin, size_t end, Sums *sums) {
    Meanwhile<V> *const meanwhile = meanwhile_;
    const size_t each = group.each, at = group.at + 2;
    Lanes lanes = lanes_at(group, begin * each, sums);
    for (size_t i = begin; i < end; i++) {
      V::template add_levels<members, true, true>({group.from[i], at, each}, &lanes,
                                                  [=](size_t blocks) { meanwhile->made(blocks * kAddShare); });
    }
  }
  /// Of none, or of more than four: four at a time.
  KVFOLD_NOINLINE void add_many(const Group &group, size_t begin, size_t end, Sums *sums) {
    for (size_t i = begin; i < end; i++) {
      size_t count = group.count[i];
      const size_t share = kAddShare / (count / 4 + 1);
      const auto pass = [=](size_t blocks) { meanwhile_->made(blocks * share); };
      const Lanes begins = lanes_at(group, i * group.each, sums);
      Levels levels{group.from[i], group.at + 2, group.each};
      Lanes lanes = begins;
      if (count == 0) V::template add_levels<0, true, true>(levels, &lanes, pass);
      else V::template add_levels<4, true, false>(levels, &lanes, pass);
      for (size_t done = 4; done < count; done += 4) {
        levels.from += 4;
        lanes = begins;
        lanes.factor += done * kLanes;
        add_more(count - done, levels, &lanes, pass);
      }
    }
  }
  template <typename Pass>
  static void add_more(size_t members, const Levels &levels, Lanes *lanes, const Pass &pass) {
    switch (members) {
      case 1: return V::template add_levels<1, false, true>(levels, lanes, pass);
      case 2: return V::template add_levels<2, false, true>(levels, lanes, pass);
      case 3: return V::template add_levels<3, false, true>(levels, lanes, pass);
      case 4: return V::template add_levels<4, false, true>(levels, lanes, pass);
      default: return V::template add_levels<4, false, false>(levels, lanes, pass);
    }
  }
  static Lanes lanes_at(const Group &group, size_t lane, Sums *sums) {
    return {group.factor + lane, kLanes, sums->word + lane * kChannels, sums->largest + lane};
  }

  /// Multiplied by the power of two `shift` the largest magnitude is in [2^14, 2^15), so its inverse has 15 bits.
  static void scale(const Group &group, Sums *sums) {
    for (size_t b = 0, blocks = sums->blocks; b < blocks; b += V::kWidth) {
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
    const size_t blocks = sums.blocks;
    size_t b = 0;
    for (; b + kStep <= blocks; b += kStep, to += kStep * kBlockBytes) {
      for (size_t i = 0; i < kStep; i++) store_block(sums, b + i, to + i * kBlockBytes);
      meanwhile_->made(kStep * kStoreShare);
    }
    for (; b < blocks; b++, to += kBlockBytes) store_block(sums, b, to);
    return to;
  }
  static KVFOLD_INLINE void store_block(const Sums &sums, size_t b, uint8_t *to) {
    memcpy(to, sums.scale + 2 * b, 2);
    V::store_sums(sums.word + b * kChannels, sums.shift[b], sums.inverse[b], to + 2);
  }

  const size_t blocks_;
  Meanwhile<V> *const meanwhile_;
  TermReader reader_;
  size_t left_, at_ = 0;  // pieces to be gathered, and blocks of the first of them that have been
  Terms terms_{nullptr, nullptr, 0};  // of the piece at hand
  Group groups_[2];
  Sums sums_;
};

}  // namespace cpu
}  // namespace kvfold

#endif

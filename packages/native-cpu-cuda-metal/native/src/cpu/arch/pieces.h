// Makes pieces of new rows one after another, and brings what the next ones are made of into the caches.
#ifndef KVFOLD_CPU_ARCH_PIECES_H
#define KVFOLD_CPU_ARCH_PIECES_H

#include <string.h>

#include "cpu/arch/kernels.h"

namespace kvfold {
namespace cpu {

static inline void prefetch(const uint8_t *at) {
#if defined(__GNUC__)
  __builtin_prefetch(at, 0, 3);
  __asm__ volatile("");  // GCC 12 drops loops that do nothing but prefetch
#else
  static_cast<void>(at);
#endif
}

/// Asks for the terms of pieces line by line, as far as others that are made meanwhile have come.
class Lookahead {
 public:
  Lookahead(const Pieces &pieces, size_t bytes) : pieces_(pieces), bytes_(bytes) {}

  /// All pieces before `piece`, and of this one every line that begins before byte `at`.
  void reach(size_t piece, size_t at) {
    for (; piece_ < piece && piece_ < pieces_.count; done_ = 0) {
      lines(bytes_);
      for (size_t m = begin_; m < pieces_.ends[piece_]; m++) prefetch(pieces_.from[m] + bytes_ - 1);  // may be one more
      begin_ = pieces_.ends[piece_++];
    }
    if (piece_ < pieces_.count) lines(at);
  }

 private:
  void lines(size_t at) {
    for (; done_ < at; done_ += 64) {
      for (size_t m = begin_; m < pieces_.ends[piece_]; m++) prefetch(pieces_.from[m] + done_);
    }
  }

  const Pieces &pieces_;
  const size_t bytes_;
  size_t piece_ = 0, begin_ = 0, done_ = 0;
};

static inline void copy_bytes(uint8_t *to, const uint8_t *from, size_t bytes) {
  if (bytes < 32) {
    memcpy(to, from, bytes);
    return;
  }
  for (size_t i = 0; i + 32 <= bytes; i += 32) memcpy(to + i, from + i, 32);
  memcpy(to + bytes - 32, from + bytes - 32, 32);
}

/// The terms of piece i.
struct Terms {
  const uint8_t *const *from;
  const float *weights;
  size_t count;
  Terms(const Pieces &pieces, size_t i) {
    const size_t begin = i == 0 ? 0 : pieces.ends[i - 1];
    from = pieces.from + begin;
    weights = pieces.weights + begin;
    count = pieces.ends[i] - begin;
  }
  bool is_copy() const { return count == 1 && weights[0] == 1.0f; }
};

template <typename Rows>
static void make_pieces(const Pieces &pieces, const Pieces &next, size_t count, uint8_t *to) {
  const size_t bytes = Rows::bytes(count);
  Lookahead ahead(next, bytes);
  for (size_t i = 0; i < pieces.count;) {
    const Terms terms(pieces, i);
    size_t end = i + 1;
    if (terms.is_copy()) {
      copy_bytes(to + i * bytes, terms.from[0], bytes);
      ahead.reach(end, 0);
    } else {
      while (end < pieces.count && !Terms(pieces, end).is_copy()) end++;
      Rows::sum(pieces, i, end, to + i * bytes, count, &ahead);
    }
    i = end;
  }
  ahead.reach(next.count, 0);
}

}  // namespace cpu
}  // namespace kvfold

#endif

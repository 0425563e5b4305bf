// Makes pieces of new rows one after another, while what the next ones are made of comes from memory and what was made
// before goes there.
#ifndef KVFOLD_CPU_ARCH_PIECES_H
#define KVFOLD_CPU_ARCH_PIECES_H

#include <string.h>

#include "common/prefetch.h"
#include "cpu/arch/kernels.h"

namespace kvfold {
namespace cpu {

/// Asks for the terms of pieces as far as others that are made meanwhile have come. Line after line of one term after
/// another: neighbours are then one stream, which the processor goes on to read by itself.
class Lookahead {
 public:
  Lookahead(const Pieces &pieces, size_t bytes) : pieces_(pieces), bytes_(bytes) {}

  /// All of the pieces before `piece`, and of this one as much as `at` bytes are of a piece.
  void reach(size_t piece, size_t at) {
    for (; piece_ < piece && piece_ < pieces_.count; begin_ = pieces_.ends[piece_++], asked_ = 0)
      ask(pieces_.ends[piece_], SIZE_MAX);
    if (piece_ < pieces_.count) ask(pieces_.ends[piece_], (pieces_.ends[piece_] - begin_) * at);
  }

 private:
  void ask(size_t end, size_t bytes) {
    while (asked_ < bytes) {
      if (line_ < line_end_) {
        prefetch(line_);
        line_ += 64;
        asked_ += 64;
      } else {
        if (term_ == end) return;
        const uint8_t *term = pieces_.from[term_++];
        line_ = term - reinterpret_cast<uintptr_t>(term) % 64;
        line_end_ = term + bytes_;
      }
    }
  }

  const Pieces &pieces_;
  const size_t bytes_;
  size_t piece_ = 0, begin_ = 0, asked_ = 0;
  size_t term_ = 0;
  const uint8_t *line_ = nullptr, *line_end_ = nullptr;
};

/// Sends bytes past the caches, a share for every piece that is made meanwhile.
template <typename V>
class Trickle {
 public:
  Trickle(const Stream &stream, size_t pieces)
      : stream_(stream), share_(pieces == 0 ? stream.bytes : (stream.bytes + pieces - 1) / pieces) {}

  /// The shares of all pieces before `piece`, in whole lines.
  void reach(size_t piece) {
    const size_t at = piece * share_;
    if (at >= stream_.bytes) return send(stream_.bytes);
    const size_t beyond = reinterpret_cast<uintptr_t>(stream_.to + at) % 64;
    if (at > done_ + beyond) send(at - beyond);
  }
  void finish() { send(stream_.bytes); }

 private:
  void send(size_t at) {
    if (at > done_) V::stream(stream_.to + done_, stream_.from + done_, at - done_);
    done_ = at;
  }

  const Stream &stream_;
  const size_t share_;
  size_t done_ = 0;
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

/// What the loops over pieces do besides.
template <typename V>
struct Meanwhile {
  Lookahead ahead;
  Trickle<V> behind;

  /// Pieces before `piece` have been made, and of this one the bytes before `at`.
  void reach(size_t piece, size_t at) { ahead.reach(piece, at); }
  void finish_piece(size_t piece) {
    ahead.reach(piece + 1, 0);
    behind.reach(piece + 1);
  }
};

template <typename V, typename Rows>
static void make_pieces(const Pieces &pieces, const Pieces &next, const Stream &made, size_t count, uint8_t *to) {
  const size_t bytes = Rows::bytes(count);
  Meanwhile<V> meanwhile{{next, bytes}, {made, pieces.count}};
  for (size_t i = 0; i < pieces.count;) {
    const Terms terms(pieces, i);
    size_t end = i + 1;
    if (terms.is_copy()) {
      copy_bytes(to + i * bytes, terms.from[0], bytes);
      meanwhile.finish_piece(i);
    } else {
      while (end < pieces.count && !Terms(pieces, end).is_copy()) end++;
      Rows::sum(pieces, i, end, to + i * bytes, count, &meanwhile);
    }
    i = end;
  }
  meanwhile.ahead.reach(next.count, 0);
  meanwhile.behind.finish();
}

}  // namespace cpu
}  // namespace kvfold

#endif

// Makes pieces of new rows one after another, while what the next ones are made of comes from memory and what was made
// before goes there.
#ifndef KVFOLD_CPU_ARCH_PIECES_H
#define KVFOLD_CPU_ARCH_PIECES_H

#include <string.h>

#include "common/prefetch.h"
#include "cpu/arch/kernels.h"

namespace kvfold {
namespace cpu {

template <Nearness kTo>
static inline void prefetch_slice(const uint8_t *slice, size_t bytes) {
  const uint8_t *end = slice + bytes;
  for (const uint8_t *line = slice - reinterpret_cast<uintptr_t>(slice) % 64; line < end; line += 64) prefetch<kTo>(line);
}

/// What is done while pieces are made, a share for every byte of theirs.
template <typename V>
class Meanwhile {
 public:
  /// `bytes` will be made.
  Meanwhile(const Runs &ahead, const Stream &behind, size_t bytes)
      : ahead_(ahead), behind_(behind), slices_(kAsked / (ahead.bytes / 64 + 1) + 1),
        pause_(ahead.end != nullptr ? pause(bytes, ahead.lines, kAsked) : pause(bytes, ahead.count, slices_)),
        rest_(pause_), sent_a_pause_(bytes == 0 ? 0 : pause_ * behind.bytes * kOne / bytes) {}

  /// So many bytes more have been made.
  void made(size_t bytes) {
    rest_ -= static_cast<ptrdiff_t>(bytes);
    if (rest_ <= 0) catch_up();
  }
  /// Asks again for a slice of those to come.
  void ask_again(size_t slice) const {
    if (ahead_.end == nullptr && slice < ahead_.count)
      prefetch_slice<Nearness::first_cache>(ahead_.begin[slice], ahead_.bytes);
  }
  void finish() {
    if (ahead_.end == nullptr) ask_slices(SIZE_MAX);
    else ask(SIZE_MAX);
    send(behind_.bytes);
  }

 private:
  static constexpr uint64_t kOne = 1 << 10;
  /// Lines asked for and bytes sent at once: seldom, because it costs instructions; but everything waits while memory is
  /// asked for more than it takes.
  static constexpr size_t kAsked = 8, kSent = 512;
  static constexpr size_t kShortest = 16, kLongest = 512;  // bytes of a pause
  static constexpr size_t kShort = 4;                      // lines of a run that are asked for together
  /// A long run is asked for at so many places in turn: memory answers several pages faster than one. A few lines past
  /// its end are asked for too.
  static constexpr size_t kPlaces = 4, kLong = 64;

  /// Bytes to be made between two times that `at_once` of all that is wanted is asked for.
  static size_t pause(size_t bytes, size_t wanted, size_t at_once) {
    if (bytes * at_once >= wanted * kLongest) return kLongest;
    const size_t even = bytes * at_once / wanted;
    return even < kShortest ? kShortest : even;
  }

  KVFOLD_NOINLINE void catch_up() {
    do {
      if (ahead_.end == nullptr) ask_slices(slices_);
      else if (lines_left() >= kAsked) ask_here(kAsked);
      else ask(kAsked);
      sent_due_ += sent_a_pause_;
      rest_ += static_cast<ptrdiff_t>(pause_);
    } while (rest_ <= 0);
    if (sent_due_ >= next_sent_) send_more();
  }
  size_t lines_left() const { return static_cast<size_t>(line_end_ - line_) / 64 * places_; }
  /// Of the run at hand.
  void ask_here(size_t lines) {
    const uint8_t *end = line_ + (lines + places_ - 1) / places_ * 64;
    if (places_ == 1) {
      for (; line_ < end; line_ += 64) prefetch(line_);
      return;
    }
    for (; line_ < end; line_ += 64) {
      prefetch(line_);
      prefetch(line_ + apart_);
      prefetch(line_ + 2 * apart_);
      prefetch(line_ + 3 * apart_);
    }
  }
  /// Short runs at once.
  KVFOLD_NOINLINE void ask(size_t lines) {
    while (lines > 0) {
      if (line_ == line_end_ && !next_run()) return;
      const size_t left = lines_left(), wanted = lines > kShort ? lines : kShort;
      ask_here(wanted < left ? wanted : left);
      lines -= left < lines ? left : lines;
    }
  }
  /// Into the second cache: it waits for more lines at once than the first, and slices from all over a cache wait for
  /// nothing else. Copies of them take up to a tenth less time.
  KVFOLD_NOINLINE void ask_slices(size_t slices) {
    const size_t left = ahead_.count - run_;
    for (const size_t end = run_ + (slices < left ? slices : left); run_ < end; run_++)
      prefetch_slice<Nearness::second_cache>(ahead_.begin[run_], ahead_.bytes);
  }
  bool next_run() {
    if (run_ == ahead_.count) return false;
    const uint8_t *begin = ahead_.begin[run_], *end = ahead_.end[run_];
    line_ = begin - reinterpret_cast<uintptr_t>(begin) % 64;
    const size_t lines = static_cast<size_t>(end - line_ + 63) / 64;
    places_ = lines < kLong ? 1 : kPlaces;
    apart_ = (lines + places_ - 1) / places_ * 64;
    line_end_ = line_ + apart_;
    run_++;
    return true;
  }
  /// Whole lines of kSent bytes at least.
  KVFOLD_NOINLINE void send_more() {
    const size_t at = sent_due_ / kOne;
    if (at > behind_.bytes) return;  // finish() sends the rest
    send(at - reinterpret_cast<uintptr_t>(behind_.to + at) % 64);
    next_sent_ = (sent_ + kSent) * kOne;
  }
  void send(size_t at) {
    if (at > sent_) V::stream(behind_.to + sent_, behind_.from + sent_, at - sent_);
    sent_ = at;
  }

  const Runs &ahead_;
  const Stream &behind_;
  const size_t slices_, pause_;  // slices asked for at once, bytes made between two such times
  ptrdiff_t rest_;               // of a pause
  const uint64_t sent_a_pause_;                       // in bytes / kOne, as the next two
  uint64_t sent_due_ = 0, next_sent_ = kSent * kOne;  // so far, and when more is sent
  size_t run_ = 0, sent_ = 0;
  const uint8_t *line_ = nullptr, *line_end_ = nullptr;  // of the run at hand, at the first of its places
  size_t places_ = 1, apart_ = 0;                        // and how far these are from each other
};

/// Bytes of copies between two shares of what is done meanwhile.
constexpr size_t kCopied = 256;
/// So many copies before its turn a slice is asked for again, now into the first cache. Where the second one has not got
/// it, because memory was too busy, that helps most: copies take up to a sixth less time.
constexpr size_t kAskedAgain = 12;

static inline void copy_bytes(uint8_t *to, const uint8_t *from, size_t bytes) {
  if (bytes < 32) {
    memcpy(to, from, bytes);
    return;
  }
  for (size_t i = 0; i + 32 <= bytes; i += 32) memcpy(to + i, from + i, 32);
  memcpy(to + bytes - 32, from + bytes - 32, 32);
}

/// The terms of one piece.
struct Terms {
  const uint8_t *const *from;
  const float *weights;
  size_t count;
};

/// Piece after piece.
class TermReader {
 public:
  TermReader(const Pieces &pieces, size_t piece)
      : end_(pieces.ends + piece), at_(piece == 0 ? pieces.first : end_[-1]), from_(pieces.from + (at_ - pieces.first)),
        weights_(pieces.weights + (at_ - pieces.first)) {}

  Terms next() {
    const size_t count = *end_ - at_;
    const Terms terms{from_, weights_, count};
    at_ = *end_++;
    from_ += count;
    weights_ += count;
    return terms;
  }

 private:
  const uint32_t *end_;
  uint32_t at_;
  const uint8_t *const *from_;
  const float *weights_;
};

/// Whether piece i is its only term.
static inline bool is_copy(const Pieces &pieces, size_t i) {
  const uint32_t begin = i == 0 ? pieces.first : pieces.ends[i - 1];
  return pieces.ends[i] == begin + 1 && pieces.weights[begin - pieces.first] == 1.0f;
}

template <typename V>
static void copy_pieces(const Pieces &pieces, size_t bytes, uint8_t *to, Meanwhile<V> *meanwhile) {
  const size_t most = kCopied / bytes + 1;
  for (size_t i = 0, end = 0; i < pieces.count;) {
    end = pieces.count - i < most ? pieces.count : i + most;
    meanwhile->made((end - i) * bytes);
    for (; i < end; i++, to += bytes) {
      const size_t soon = i + kAskedAgain;
      if (soon < pieces.count) prefetch_slice<Nearness::first_cache>(pieces.from[soon], bytes);
      else meanwhile->ask_again(soon - pieces.count);
      copy_bytes(to, pieces.from[i], bytes);
    }
  }
}

template <typename V, typename Rows>
static void make_pieces(const Pieces &pieces, const Runs &ahead, const Stream &behind, size_t count, uint8_t *to) {
  const size_t bytes = Rows::bytes(count), most = kCopied / bytes + 1;
  Meanwhile<V> meanwhile(ahead, behind, pieces.count * bytes);
  if (pieces.ends == nullptr) copy_pieces(pieces, bytes, to, &meanwhile);
  for (size_t i = 0; i < pieces.count && pieces.ends != nullptr;) {
    const bool copies = !pieces.sums && is_copy(pieces, i);
    size_t end = pieces.sums ? pieces.count : i + 1;
    while (end < pieces.count && is_copy(pieces, end) == copies && !(copies && end - i == most)) end++;
    if (copies) {
      TermReader reader(pieces, i);
      for (size_t piece = i; piece < end; piece++) copy_bytes(to + piece * bytes, reader.next().from[0], bytes);
      meanwhile.made((end - i) * bytes);
    } else {
      Rows::sum(pieces, i, end, to + i * bytes, count, &meanwhile);
    }
    i = end;
  }
  meanwhile.finish();
}

}  // namespace cpu
}  // namespace kvfold

#endif

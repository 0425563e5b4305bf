// Makes pieces of new rows one after another, while what the next ones are made of comes from memory and what was made
// before goes there.
#ifndef KVFOLD_CPU_ARCH_PIECES_H
#define KVFOLD_CPU_ARCH_PIECES_H

#include <string.h>

#include "common/prefetch.h"
#include "cpu/arch/kernels.h"

namespace kvfold {
namespace cpu {

/// What is done while pieces are made, a share for every byte of theirs.
template <typename V>
class Meanwhile {
 public:
  /// `bytes` will be made.
  Meanwhile(const Runs &ahead, const Stream &behind, size_t bytes)
      : ahead_(ahead), behind_(behind), lines_a_byte_(share(ahead.lines, bytes)),
        sent_a_byte_(share(behind.bytes, bytes)) {}

  /// So many bytes more have been made.
  void made(size_t bytes) {
    lines_due_ += bytes * lines_a_byte_;
    const size_t lines = lines_due_ / kOne;
    lines_due_ %= kOne;
    if (lines <= static_cast<size_t>(line_end_ - line_) / 64) ask_here(lines);
    else ask(lines);
    sent_due_ += bytes * sent_a_byte_;
    if (sent_due_ / kOne >= sent_ + kLeastSent) send_lines(sent_due_ / kOne);
  }
  void finish() {
    ask(SIZE_MAX);
    send(behind_.bytes);
  }

 private:
  static constexpr uint64_t kOne = 1 << 16;
  static constexpr size_t kLeastSent = 256, kShort = 4;

  static uint64_t share(size_t of, size_t bytes) { return bytes == 0 ? 0 : of * kOne / bytes; }

  /// Of the run at hand.
  void ask_here(size_t lines) {
    const uint8_t *line = line_, *end = line + 64 * lines;
    for (; lines >= 4; lines -= 4, line += 256) {
      prefetch(line);
      prefetch(line + 64);
      prefetch(line + 128);
      prefetch(line + 192);
    }
    for (; line < end; line += 64) prefetch(line);
    line_ = end;
  }
  /// Short runs at once.
  void ask(size_t lines) {
    while (lines > 0) {
      if (line_ == line_end_ && !next_run()) return;
      const size_t left = static_cast<size_t>(line_end_ - line_) / 64, wanted = lines > kShort ? lines : kShort;
      ask_here(wanted < left ? wanted : left);
      lines -= left < lines ? left : lines;
    }
  }
  bool next_run() {
    if (run_ == ahead_.count) return false;
    const uint8_t *begin = ahead_.begin[run_], *end = ahead_.end != nullptr ? ahead_.end[run_] : begin + ahead_.bytes;
    line_ = begin - reinterpret_cast<uintptr_t>(begin) % 64;
    line_end_ = line_ + static_cast<size_t>(end - line_ + 63) / 64 * 64;
    run_++;
    return true;
  }
  /// As far as `at`, or less by a part of a line.
  void send_lines(size_t at) { send(at - reinterpret_cast<uintptr_t>(behind_.to + at) % 64); }
  void send(size_t at) {
    if (at > sent_) V::stream(behind_.to + sent_, behind_.from + sent_, at - sent_);
    sent_ = at;
  }

  const Runs &ahead_;
  const Stream &behind_;
  const uint64_t lines_a_byte_, sent_a_byte_;
  uint64_t lines_due_ = 0, sent_due_ = 0;
  size_t run_ = 0, sent_ = 0;
  const uint8_t *line_ = nullptr, *line_end_ = nullptr;
};

/// Bytes of copies between two shares of what is done meanwhile.
constexpr size_t kCopied = 256;

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
    const uint32_t begin = i == 0 ? pieces.first : pieces.ends[i - 1], at = begin - pieces.first;
    from = pieces.from + at;
    weights = pieces.weights + at;
    count = pieces.ends[i] - begin;
  }
  bool is_copy() const { return count == 1 && weights[0] == 1.0f; }
};

template <typename V, typename Rows>
static void make_pieces(const Pieces &pieces, const Runs &ahead, const Stream &behind, size_t count, uint8_t *to) {
  const size_t bytes = Rows::bytes(count), most = kCopied / bytes + 1;
  Meanwhile<V> meanwhile(ahead, behind, pieces.count * bytes);
  for (size_t i = 0; i < pieces.count;) {
    const bool copies = Terms(pieces, i).is_copy();
    size_t end = i + 1;
    while (end < pieces.count && Terms(pieces, end).is_copy() == copies && !(copies && end - i == most)) end++;
    if (copies) {
      for (size_t piece = i; piece < end; piece++) copy_bytes(to + piece * bytes, Terms(pieces, piece).from[0], bytes);
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

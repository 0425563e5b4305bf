// Rows of one tensor between the cache, the undo log and where they are made.
#ifndef KVFOLD_CPU_ROW_COPY_H
#define KVFOLD_CPU_ROW_COPY_H

#include "cpu/fold.h"

namespace kvfold {
namespace cpu {

/// Calls run(row, count) for rows of [from, to) whose destinations follow each other.
template <typename Run>
void each_run(const Fold &fold, size_t from, size_t to, const Run &run) {
  for (size_t row = from, next = row; row < to; row = next) {
    const size_t offset = fold.destination(row) - row;
    for (next = row + 1; next < to && fold.destination(next) - next == offset;) next++;
    run(row, next - row);
  }
}

struct RowCopy {
  const Fold &fold;
  const Tensor tensor;
  uint8_t *log;
  const Copy copy;

  uint8_t *destination(size_t row) const { return tensor.slice(fold.destination(row), 0); }
  uint8_t *logged(size_t row) const { return log + row * tensor.row_bytes; }
  void save(size_t from, size_t to) const {
    each_run(fold, from, to,
             [&](size_t row, size_t count) { copy(logged(row), destination(row), count * tensor.row_bytes); });
  }
  void restore(size_t from, size_t to) const {
    each_run(fold, from, to,
             [&](size_t row, size_t count) { copy(destination(row), logged(row), count * tensor.row_bytes); });
  }
  /// Whether the destinations of all rows follow each other.
  bool is_run(size_t from, size_t to) const {
    return fold.destination(to - 1) - fold.destination(from) == to - 1 - from;  // they rise
  }
  /// New rows, [to - from, row bytes].
  void write(size_t from, size_t to, const uint8_t *rows) const {
    each_run(fold, from, to, [&](size_t row, size_t count) {
      copy(destination(row), rows + (row - from) * tensor.row_bytes, count * tensor.row_bytes);
    });
  }
};

}  // namespace cpu
}  // namespace kvfold

#endif

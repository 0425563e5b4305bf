// What some of the new rows of a tensor are made of, looked up at once: the work of a kernel.
#ifndef KVFOLD_CPU_ROW_BATCH_H
#define KVFOLD_CPU_ROW_BATCH_H

#include <cstddef>
#include <cstdint>

#include "cpu/arch/kernels.h"

namespace kvfold {
namespace cpu {

/// Rows [begin, end), each of them one piece, or one piece a head.
///
///     rows       a  [bc]        pieces of two heads     a0  a1  [b0 c0]  [b1 c1]
///                               ends                     1   2        4        6
struct RowBatch {
  static constexpr size_t kPieces = 256, kTerms = 1024;

  size_t begin = 0, end = 0;
  size_t pieces = 0, terms = 0;
  const uint8_t *from[kTerms];
  float weights[kTerms];
  uint32_t ends[kPieces];

  void clear(size_t row) {
    begin = end = row;
    pieces = terms = 0;
  }
  bool empty() const { return begin == end; }
  bool has_room(size_t more_pieces, size_t more_terms) const {
    return pieces + more_pieces <= kPieces && terms + more_terms <= kTerms;
  }
  void add_term(const uint8_t *term, float weight) {
    from[terms] = term;
    weights[terms++] = weight;
  }
  void end_piece() { ends[pieces++] = static_cast<uint32_t>(terms); }

  Pieces list() const { return {from, weights, ends, pieces}; }
};

}  // namespace cpu
}  // namespace kvfold

#endif

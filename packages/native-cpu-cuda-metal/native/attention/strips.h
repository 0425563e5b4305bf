// Matrices as products want them: strips of `strip` columns, one strip after another, each with its rows one after
// another (Kernels::strip, which differs between instruction sets; sizes here do not).
//
//   strip 3:   a b c | d e f    rows of strip 0, then of strip 1, ..      the last strip is padded with zeros
//
// In C = A^T B both operands lie like this, rows being what is summed over.
#ifndef KVFOLD_ATTENTION_STRIPS_H
#define KVFOLD_ATTENTION_STRIPS_H

#include "arena.h"
#include "kernels.h"
#include "parallel.h"

namespace kvfold {
namespace attention {

struct Strips {
  float *data;
  size_t rows, columns;
  size_t strip;  ///< of the kernels

  size_t count() const { return (columns + strip - 1) / strip; }
  float *at(size_t index, size_t row) const { return data + (index * rows + row) * strip; }
  size_t width(size_t index) const {
    const size_t left = columns - index * strip;
    return left < strip ? left : strip;
  }
};

/// Columns that there is room for, whatever the strip.
constexpr size_t strip_columns(size_t columns) { return round_up(columns, kLanes); }

/// Keys and values of one head, and its bias, as blocks read them.
struct PackedHead {
  Strips keys;    ///< [key_dim, cells]: turned
  Strips values;  ///< [cells, value_dim]
  float *bias;    ///< [cells], in units of log 2; or NULL
};

/// Where they lie in an arena.
struct PackedLayout {
  size_t keys, values, bias;
};

PackedLayout packed_layout(size_t cells, size_t key_dim, size_t value_dim, bool biased, Layout *layout);

/// What is packed: [cells, key_dim], [cells, value_dim] (NULL: no values), [cells] (NULL: no bias).
struct PlainHead {
  const float *keys, *values, *bias;
  size_t cells, key_dim, value_dim;
};

PackedHead pack_head(const Kernels &kernels, const PlainHead &head, const PackedLayout &layout, const Arena &arena,
                     Parallel &parallel);

}  // namespace attention
}  // namespace kvfold

#endif

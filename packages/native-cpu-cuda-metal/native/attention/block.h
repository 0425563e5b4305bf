// Attention of one block of query rows: the part that attend and fit share.
//
//   scores [tile, lanes] -> exp(score - running top) ... all tiles ... -> factor [tile, lanes]: weight = exp * factor
//
// Lanes are query rows, so that the softmax runs down the cells without a step across lanes, and keys and values are
// read as they lie. The exponentials of all cells stay (256 B a cell) until the final top and total are known.
#ifndef KVFOLD_ATTENTION_BLOCK_H
#define KVFOLD_ATTENTION_BLOCK_H

#include "kernels.h"
#include "parallel.h"

namespace kvfold {
namespace attention {

/// One KV head.
struct Head {
  const float *queries;  ///< [rows, key_dim]
  const float *keys;     ///< [cells, key_dim]
  const float *bias;     ///< [cells], or NULL
  const float *values;   ///< [cells, value_dim], or NULL
  size_t cells, key_dim, value_dim;
};

/// Scratch of one worker, and the result of a block.
struct Block {
  float *rows;        ///< [kLanes, larger of key_dim and value_dim]: queries as they come in
  float *turned;      ///< [key_dim, kLanes]: queries
  float *weights;     ///< [cells, kLanes]: exponentials; times `factors` of their tile: softmax weights
  float *factors;     ///< [tiles, kLanes]; 0 in lanes without a row
  float *outputs;     ///< [value_dim, kLanes]
  float *top, *total, *correction;  ///< [kLanes]
};

/// Floats that a block needs; false when the number does not fit.
bool block_floats(size_t cells, size_t key_dim, size_t value_dim, uint64_t *count);
/// A block in that many floats.
Block block_in(float *memory, size_t cells, size_t key_dim, size_t value_dim);

/// Attends from `lanes` query rows, row(i) = order[i], or first + i when order is NULL. False when stopped.
bool attend_block(const Kernels &kernels, const Head &head, const uint32_t *order, size_t first, size_t lanes,
                  const Block &block, Parallel &parallel);

}  // namespace attention
}  // namespace kvfold

#endif

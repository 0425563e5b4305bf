// Attention of blocks of query rows: the part that attend and fit share.
//
//   scores [tile, lanes] -> 2^(score - running top) ... all tiles ... -> factor [tile, lanes]: weight = power * factor
//
// Lanes are query rows, so that the softmax runs down the cells without a step across lanes. Scores are in units of
// log 2: queries and bias are multiplied by log2 e, and what is left of exp is a power of two. The powers of all cells
// stay (192 B a cell) until the final top and total are known.
#ifndef KVFOLD_ATTENTION_BLOCK_H
#define KVFOLD_ATTENTION_BLOCK_H

#include "strips.h"

namespace kvfold {
namespace attention {

constexpr float kLog2E = 1.44269504088896341f;

/// One KV head.
struct Head {
  const float *queries;  ///< [rows, key_dim]
  PackedHead cells;
  size_t count, key_dim, value_dim;  ///< value_dim 0: no outputs
};

/// Scratch of one worker, and the result of a block.
struct Block {
  float *rows;        ///< [kLanes, larger of key_dim and value_dim]: queries as they come in
  float *turned;      ///< [key_dim, kLanes] in strips: queries
  float *weights;     ///< tiles of [kTile, kLanes] in strips: powers; times `factors` of their tile: softmax weights
  float *factors;     ///< [tiles, kLanes]; 0 in lanes without a row
  float *outputs;     ///< [value_dim, kLanes]
  float *top, *total, *correction;  ///< [kLanes]

  float *tile(size_t index) const { return weights + index * (kTile * kLanes); }
};

/// Blocks that one thread works on in step, tile by tile: keys and values come from beyond the L2 cache once for all.
constexpr size_t kInStep = 3;

/// Floats that kInStep blocks need; false when the number does not fit.
bool block_floats(size_t cells, size_t key_dim, size_t value_dim, uint64_t *count);
/// The first of kInStep blocks in that many floats, or the one at `index`.
Block block_in(float *memory, size_t cells, size_t key_dim, size_t value_dim, size_t index);

/// The query rows of a block.
struct Rows {
  size_t index[kLanes];
  size_t count;
};

/// Attends from the rows of at most kInStep blocks. False when stopped.
bool attend_blocks(const Kernels &kernels, const Head &head, const Rows *rows, const Block *blocks, size_t count,
                   Parallel &parallel);

}  // namespace attention
}  // namespace kvfold

#endif

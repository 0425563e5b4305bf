// Attention of blocks of query rows, tile by tile, with a running maximum.
#include "block.h"

#include <cfloat>
#include <cstring>

namespace kvfold {
namespace attention {
namespace {

/// Tiles between two questions whether to stop: 2,304 cells of kInStep blocks, a few milliseconds at the largest head sizes.
constexpr size_t kPoll = 16;

size_t larger(size_t a, size_t b) { return a > b ? a : b; }
size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

void begin(const Kernels &kernels, const Head &head, const Rows &rows, const Block &block) {
  const size_t dim = head.key_dim;
  std::memset(block.rows, 0, kLanes * dim * sizeof(float));
  for (size_t lane = 0; lane < rows.count; lane++) {
    const float *from = head.queries + rows.index[lane] * dim;
    for (size_t i = 0; i < dim; i++) block.rows[lane * dim + i] = from[i] * kLog2E;
  }
  for (size_t lane = 0; lane < kLanes; lane += kernels.strip)
    kernels.transpose(block.rows + lane * dim, dim, kernels.strip, dim, block.turned + lane * dim, kernels.strip);
  for (size_t lane = 0; lane < kLanes; lane++) {
    block.top[lane] = -FLT_MAX;
    block.total[lane] = 0.0f;
  }
  std::memset(block.outputs, 0, head.value_dim * kLanes * sizeof(float));
}

/// Strip of cells by strip of lanes; a strip of cells never crosses the end of a tile.
void score_tile(const Kernels &kernels, const Head &head, size_t cell, size_t cells, float *tile, const Block &block) {
  const size_t strip = kernels.strip;
  const float *bias = head.cells.bias;
  Product scores = {};
  scores.row_stride = 1;
  scores.column_stride = scores.ldb = scores.ldc = scores.n = strip;
  scores.k = head.key_dim;
  scores.begin = bias == nullptr ? Start::zero : Start::rows;
  scores.finish = Finish::store;
  for (size_t from = 0; from < cells; from += strip) {
    scores.a = head.cells.keys.at((cell + from) / strip, 0);
    scores.m = smaller(strip, cells - from);
    scores.start = bias == nullptr ? nullptr : bias + cell + from;
    for (size_t lane = 0; lane < kLanes; lane += strip) {
      scores.b = block.turned + lane * head.key_dim;
      scores.c = tile + lane * kTile + from * strip;
      kernels.product(scores);
    }
  }
}

void join_values(const Kernels &kernels, const Head &head, size_t cell, size_t cells, const float *tile,
                 const Block &block) {
  const size_t strip = kernels.strip;
  const Strips &values = head.cells.values;
  Product outputs = {};
  outputs.row_stride = 1;
  outputs.column_stride = outputs.ldb = outputs.n = strip;
  outputs.ldc = kLanes;
  outputs.k = cells;
  outputs.begin = Start::scaled;
  outputs.finish = Finish::store;
  for (size_t lane = 0; lane < kLanes; lane += strip) {
    outputs.b = tile + lane * kTile;
    outputs.start = block.correction + lane;
    for (size_t s = 0; s < values.count(); s++) {
      outputs.a = values.at(s, cell);
      outputs.m = values.width(s);
      outputs.c = block.outputs + s * strip * kLanes + lane;
      kernels.product(outputs);
    }
  }
}

/// Tops of the tiles become the factors of their weights; outputs are divided by the totals.
void finish(const Kernels &kernels, const Head &head, size_t tiles, size_t lanes, const Block &block) {
  float *inverse = block.correction;
  for (size_t lane = 0; lane < kLanes; lane++) inverse[lane] = lane < lanes ? 1.0f / block.total[lane] : 0.0f;
  for (size_t tile = 0; tile < tiles; tile++) {
    float *factor = block.factors + tile * kLanes;
    for (size_t lane = 0; lane < kLanes; lane++) factor[lane] -= block.top[lane];
    kernels.exponential(factor, factor, kLanes);
    kernels.scale(factor, inverse, factor, kLanes);
  }
  for (size_t i = 0; i < head.value_dim; i++) {
    kernels.scale(block.outputs + i * kLanes, inverse, block.outputs + i * kLanes, kLanes);
  }
}

uint64_t floats_of_one(size_t cells, size_t key_dim, size_t value_dim) {
  const uint64_t tiles = (cells + kTile - 1) / kTile;
  return (larger(key_dim, value_dim) + key_dim + tiles * (kTile + 1) + value_dim + 3) * kLanes;
}

}  // namespace

bool block_floats(size_t cells, size_t key_dim, size_t value_dim, uint64_t *count) {
  return multiply_fits(floats_of_one(cells, key_dim, value_dim), kInStep, count);
}

Block block_in(float *memory, size_t cells, size_t key_dim, size_t value_dim, size_t index) {
  Block block;
  memory += index * static_cast<size_t>(floats_of_one(cells, key_dim, value_dim));
  auto take = [&memory](size_t rows) {
    float *from = memory;
    memory += rows * kLanes;
    return from;
  };
  block.rows = take(larger(key_dim, value_dim));
  block.turned = take(key_dim);
  block.weights = take((cells + kTile - 1) / kTile * kTile);
  block.factors = take((cells + kTile - 1) / kTile);
  block.outputs = take(value_dim);
  block.top = take(1);
  block.total = take(1);
  block.correction = take(1);
  return block;
}

bool attend_blocks(const Kernels &kernels, const Head &head, const Rows *rows, const Block *blocks, size_t count,
                   Parallel &parallel) {
  for (size_t i = 0; i < count; i++) begin(kernels, head, rows[i], blocks[i]);
  size_t tile = 0;
  for (size_t cell = 0; cell < head.count; cell += kTile, tile++) {
    if (tile % kPoll == kPoll - 1 && parallel.stop()) return false;
    const size_t cells = smaller(kTile, head.count - cell);
    for (size_t i = 0; i < count; i++) {
      const Block &block = blocks[i];
      float *weights = block.tile(tile);
      score_tile(kernels, head, cell, cells, weights, block);
      kernels.softmax(weights, cells, {block.top, block.total, block.correction});
      std::memcpy(block.factors + tile * kLanes, block.top, kLanes * sizeof(float));
      if (head.value_dim > 0) join_values(kernels, head, cell, cells, weights, block);
    }
  }
  for (size_t i = 0; i < count; i++) finish(kernels, head, tile, rows[i].count, blocks[i]);
  return true;
}

}  // namespace attention
}  // namespace kvfold

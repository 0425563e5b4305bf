// Attention of one block of query rows, tile by tile, with a running maximum.
#include "block.h"

#include <cfloat>
#include <cstring>

#include "arena.h"

namespace kvfold {
namespace attention {
namespace {

/// Tiles between two questions whether to stop: 2,048 cells, a few milliseconds at the largest head sizes.
constexpr size_t kPoll = 16;

size_t larger(size_t a, size_t b) { return a > b ? a : b; }

void load_queries(const Kernels &kernels, const Head &head, const uint32_t *order, size_t first, size_t lanes,
                  const Block &block) {
  const size_t dim = head.key_dim;
  for (size_t lane = 0; lane < kLanes; lane++) {
    float *to = block.rows + lane * dim;
    if (lane >= lanes) {
      std::memset(to, 0, dim * sizeof(float));
      continue;
    }
    const size_t row = order == nullptr ? first + lane : order[lane];
    std::memcpy(to, head.queries + row * dim, dim * sizeof(float));
  }
  kernels.transpose(block.rows, dim, kLanes, dim, block.turned, kLanes);
}

void score_tile(const Kernels &kernels, const Head &head, size_t cell, size_t cells, const Block &block) {
  Product scores = {};
  scores.a = head.keys + cell * head.key_dim;
  scores.row_stride = head.key_dim;
  scores.column_stride = 1;
  scores.b = block.turned;
  scores.ldb = scores.ldc = scores.n = kLanes;
  scores.c = block.weights + cell * kLanes;
  scores.m = cells;
  scores.k = head.key_dim;
  scores.begin = head.bias == nullptr ? Start::zero : Start::rows;
  scores.finish = Finish::store;
  scores.start = head.bias == nullptr ? nullptr : head.bias + cell;
  kernels.product(scores);
}

void join_values(const Kernels &kernels, const Head &head, size_t cell, size_t cells, const Block &block) {
  Product outputs = {};
  outputs.a = head.values + cell * head.value_dim;
  outputs.row_stride = 1;
  outputs.column_stride = head.value_dim;
  outputs.b = block.weights + cell * kLanes;
  outputs.ldb = outputs.ldc = outputs.n = kLanes;
  outputs.c = block.outputs;
  outputs.m = head.value_dim;
  outputs.k = cells;
  outputs.begin = Start::scaled;
  outputs.finish = Finish::store;
  outputs.start = block.correction;
  kernels.product(outputs);
}

/// Tops of the tiles become the factors of their weights; outputs are divided by the totals.
void finish(const Kernels &kernels, const Head &head, size_t tiles, size_t lanes, const Block &block) {
  float *inverse = block.correction;
  for (size_t lane = 0; lane < kLanes; lane++) inverse[lane] = lane < lanes ? 1.0f / block.total[lane] : 0.0f;
  for (size_t tile = 0; tile < tiles; tile++) {
    float *factor = block.factors + tile * kLanes;
    for (size_t lane = 0; lane < kLanes; lane++) factor[lane] -= block.top[lane];
    kernels.exponential(factor, factor, kLanes);
    kernels.scale_lanes(factor, inverse, factor);
  }
  for (size_t i = 0; i < head.value_dim; i++) {
    kernels.scale_lanes(block.outputs + i * kLanes, inverse, block.outputs + i * kLanes);
  }
}

}  // namespace

bool block_floats(size_t cells, size_t key_dim, size_t value_dim, uint64_t *count) {
  const uint64_t tiles = (cells + kTile - 1) / kTile;
  return multiply_fits(larger(key_dim, value_dim) + key_dim + cells + tiles + value_dim + 3, kLanes, count);
}

Block block_in(float *memory, size_t cells, size_t key_dim, size_t value_dim) {
  Block block;
  auto take = [&memory](size_t rows) {
    float *from = memory;
    memory += rows * kLanes;
    return from;
  };
  block.rows = take(larger(key_dim, value_dim));
  block.turned = take(key_dim);
  block.weights = take(cells);
  block.factors = take((cells + kTile - 1) / kTile);
  block.outputs = take(value_dim);
  block.top = take(1);
  block.total = take(1);
  block.correction = take(1);
  return block;
}

bool attend_block(const Kernels &kernels, const Head &head, const uint32_t *order, size_t first, size_t lanes,
                  const Block &block, Parallel &parallel) {
  load_queries(kernels, head, order, first, lanes, block);
  for (size_t lane = 0; lane < kLanes; lane++) {
    block.top[lane] = -FLT_MAX;
    block.total[lane] = 0.0f;
  }
  std::memset(block.outputs, 0, head.value_dim * kLanes * sizeof(float));
  size_t tile = 0;
  for (size_t cell = 0; cell < head.cells; cell += kTile, tile++) {
    if (tile % kPoll == kPoll - 1 && parallel.stop()) return false;
    const size_t cells = head.cells - cell < kTile ? head.cells - cell : kTile;
    score_tile(kernels, head, cell, cells, block);
    kernels.softmax(block.weights + cell * kLanes, cells, {block.top, block.total, block.correction});
    std::memcpy(block.factors + tile * kLanes, block.top, kLanes * sizeof(float));
    if (head.values != nullptr) join_values(kernels, head, cell, cells, block);
  }
  finish(kernels, head, tile, lanes, block);
  return true;
}

}  // namespace attention
}  // namespace kvfold

// One layer of a fit: the space that its heads work in, and the steps that they go through.
#ifndef KVFOLD_CUDA_FIT_LAYER_H
#define KVFOLD_CUDA_FIT_LAYER_H

#include <algorithm>

#include "common/queries.h"
#include "cuda/cholesky.h"
#include "cuda/fold.h"
#include "cuda/softmax.h"
#include "cuda/turn.h"

namespace kvfold {
namespace cuda {

constexpr uint32_t kNumbers = 6;  // sums of squares of a head: targets, before, after; fitting and judging each

inline uint32_t rounded(uint32_t count, uint32_t to) { return (count + to - 1) / to * to; }

/// Device memory of the fits of a part, kept from layer to layer.
struct Space {
  Buffer<float> queries, targets, raw, keys, values, weights, square, inverse, diagonal, right, change, bias, row_bias;
  Buffer<uint32_t> cells, counts, slots, bad, order;
  Buffer<uint8_t> factors;
  Buffer<double> squares;
  Buffer<Ridge> ridges;
  SoftmaxSpace softmax;
};

/// One layer; what the steps share.
struct LayerFit {
  Fold &fold;
  Part &part;
  size_t key_index;  // of the keys in the part; the values follow
  const kvfold_options &options;
  Space &space;
  std::vector<FreeRows> free;  // [heads]
  uint32_t most_free = 0, rows = 0, judging = 0;
  bool known = false;
  QueryRows queries;

  Device *device() const { return part.device; }
  const TensorTable &keys() const { return part.tables[key_index]; }
  const TensorTable &values() const { return part.tables[key_index + 1]; }
  uint32_t layer() const { return keys().layer; }
  uint32_t free_of(uint32_t head) const { return static_cast<uint32_t>(free[head].rows.size()); }
  uint32_t fitting() const { return rows - judging; }
  uint32_t ld() const { return rounded(std::max(most_free, 1u), 4); }
  uint32_t cells() const { return fold.target->cells; }
  uint32_t kept() const { return fold.plan->rows; }
  uint32_t side() const { return rounded(std::max(1u, std::min(fitting(), most_free)), kStep); }
  uint32_t decoded() const { return known ? kept() : std::max(cells(), kept()); }
  kvfold_turn turn() const { return turn_of(*fold.target, *fold.plan->fit, layer(), 0); }

  Heads heads(uint32_t count, uint32_t of) const {
    Heads out{};
    out.count = count;
    out.rows = rows;
    out.cells = of;
    out.key_dim = keys().dim;
    out.value_dim = values().dim;
    out.queries = space.queries.data();
    out.keys = space.keys.data();
    out.values = space.values.data();
    return out;
  }

  void find_free();
  uint64_t bytes(uint32_t count) const;
  kvfold_status reserve(uint32_t count, kvfold_error *error);
  kvfold_status start(kvfold_error *error);
  kvfold_status find_targets(uint32_t from, uint32_t count, kvfold_error *error);
  kvfold_status build(uint32_t from, uint32_t count, kvfold_error *error);
  kvfold_status square(const float *numbers, uint32_t count, uint32_t which, kvfold_error *error);
  Systems systems(uint32_t from, uint32_t count) const;
  kvfold_status solve_heads(uint32_t from, uint32_t count, kvfold_error *error);
  kvfold_status judge(uint32_t from, uint32_t count, kvfold_error *error);
  kvfold_status run(uint32_t from, uint32_t count, kvfold_error *error);
};

}  // namespace cuda
}  // namespace kvfold

#endif

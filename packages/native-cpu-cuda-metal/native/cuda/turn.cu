// Sampled queries, turned to positions after the context: a warp one query row.
#include "cuda/turn.h"

#include "common/queries.h"
#include "cuda/fold.h"
#include "cuda/slice.h"

namespace kvfold {
namespace cuda {
namespace {

struct TurnTable {
  const uint16_t *queries;   ///< [samples, query heads, dim]
  const int32_t *positions;  ///< [samples]
  const double *frequencies;
  const uint32_t *order;     ///< [rows], or NULL
  double scale;
  uint32_t query_heads, group, dim, rows, pairing, pairs, horizon;
  int32_t last;
};

/// grid: [tiles of kSliceWarps rows, heads]
__global__ void __launch_bounds__(kSliceWarps *kWarp) turn_kernel(TurnTable t, uint32_t from, float *out) {
  __shared__ SliceSpace spaces[kSliceWarps];
  const uint32_t place = blockIdx.x * kSliceWarps + threadIdx.x / kWarp;
  if (place >= t.rows) return;
  const uint32_t row = t.order != nullptr ? t.order[place] : place;
  const uint32_t sample = row / t.group, head = (from + blockIdx.y) * t.group + row % t.group;
  const uint16_t *query = t.queries + (size_t{sample} * t.query_heads + head) * t.dim;
  float *space = spaces[threadIdx.x / kWarp].member;
  for (uint32_t j = lane_index(); j < t.dim; j += kWarp)
    space[j] = static_cast<float>(f16_to_f32(query[j]) * t.scale);
  if (t.pairs != 0) {
    const uint64_t ahead = uint64_t{sample} * kQuerySpread % t.horizon;
    const int64_t turn = int64_t{t.last} + 1 + static_cast<int64_t>(ahead) - t.positions[sample];
    rotate(t.pairing, t.pairs, t.frequencies, turn, nullptr, space);
  }
  float *to = out + (size_t{blockIdx.y} * t.rows + place) * t.dim;
  for (uint32_t j = lane_index(); j < t.dim; j += kWarp) to[j] = space[j];
}

}  // namespace

kvfold_status QueryRows::upload(const kvfold_turn &turn, Device *device, const std::vector<uint32_t> &order,
                                kvfold_error *error) {
  device_ = device;
  turn_ = turn;
  rows_ = kvfold_turned_rows(&turn);
  const kvfold_memory_layer &layer = *turn.layer;
  const bool turns = layer.rope_pairing != KVFOLD_ROPE_NONE;
  const size_t samples = rows_ / (turn.queries.heads / layer.kv_heads);
  if (kvfold_status status = queries_.upload(device, turn.queries.rows.data,
                                             samples * turn.queries.heads * layer.key_dim, "queries", error))
    return status;
  if (kvfold_status status = positions_.upload(device, turn.positions.data, samples, "positions", error))
    return status;
  if (kvfold_status status = frequencies_.upload(device, layer.rope_frequencies, turns ? layer.rope_dims / 2 : 0,
                                                 "frequencies", error))
    return status;
  return order_.upload(device, order.data(), order.size(), "the order of queries", error);
}

kvfold_status QueryRows::turn(int32_t last, uint32_t from, uint32_t heads, float *out, kvfold_error *error) const {
  if (rows_ == 0 || heads == 0) return KVFOLD_OK;
  const kvfold_memory_layer &layer = *turn_.layer;
  TurnTable table{};
  table.queries = queries_.data();
  table.positions = positions_.data();
  table.frequencies = frequencies_.data();
  table.order = order_.size() == 0 ? nullptr : order_.data();
  table.scale = turn_.queries.scale;
  table.query_heads = turn_.queries.heads;
  table.group = turn_.queries.heads / layer.kv_heads;
  table.dim = layer.key_dim;
  table.rows = rows_;
  table.pairing = layer.rope_pairing;
  table.pairs = layer.rope_pairing == KVFOLD_ROPE_NONE ? 0 : layer.rope_dims / 2;
  table.horizon = turn_.horizon;
  table.last = last;
  const dim3 grid(ceil_div(rows_, kSliceWarps), heads);
  return check(launch(turn_kernel, grid, kSliceWarps * kWarp, device_->stream(), table, from, out),
               "turning queries", error);
}

kvfold_status turn_queries(const kvfold_turn *turn, const kvfold_options *options, float *out, kvfold_error *error) {
  try {
    if (kvfold_status status = supports(turn->layer, error)) return status;
    if (cancelled(options)) return fail_aborted(error);
    Device *device = nullptr;
    if (kvfold_status status = Device::open(turn->layer->device, &device, error)) return status;
    const uint32_t heads = turn->layer->kv_heads;
    const size_t numbers = size_t{heads} * kvfold_turned_rows(turn) * turn->layer->key_dim;
    QueryRows rows;
    Buffer<float> turned;
    if (kvfold_status status = rows.upload(*turn, device, {}, error)) return status;
    if (kvfold_status status = turned.allocate(device, numbers, "queries", error)) return status;
    if (kvfold_status status = rows.turn(turn->last, 0, heads, turned.data(), error)) return status;
    return device->download(out, turned.data(), numbers * sizeof(float), error);
  } catch (...) {
    return fail_memory(error, "turning queries");
  }
}

}  // namespace cuda
}  // namespace kvfold

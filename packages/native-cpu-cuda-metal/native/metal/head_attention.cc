// Attention of query rows over the cells of one KV head, gathered as work for the GPU.
#include "metal/head_attention.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "attention.h"
#include "common/error.h"
#include "common/queries.h"

namespace kvfold {
namespace metal {
namespace {

constexpr uint32_t kFloat = sizeof(float);

uint64_t segments_of(uint64_t cells) { return (cells + kSegment - 1) / kSegment; }
uint64_t tiles_of(uint64_t count) { return (count + kTile - 1) / kTile; }

/// Bytes of the buffers, at most 2^27 cells of 2^14 channels.
struct Sizes {
  explicit Sizes(const HeadShape &shape)
      : queries(uint64_t{shape.key_dim} * kLanes * kFloat), weights(shape.cells * kLanes * kFloat),
        factors(segments_of(shape.cells) * kLanes * kFloat), partial(factors * shape.value_dim) {}
  uint64_t queries, weights, factors, partial;
};

}  // namespace

uint64_t BlockBuffers::bytes(const HeadShape &shape) {
  const Sizes sizes(shape);
  return sizes.queries + sizes.weights + 2 * sizes.factors + sizes.partial;
}

bool BlockBuffers::allocate(const HeadShape &shape) {
  const Sizes sizes(shape);
  return queries.allocate(sizes.queries) && weights.allocate(sizes.weights) && factors.allocate(sizes.factors) &&
         totals.allocate(sizes.factors) && partial.allocate(sizes.partial);
}

void attend_rows(Work *work, const HeadShape &shape, const HeadInput &input, const HeadOutput &output,
                 const BlockBuffers &block, uint64_t first, uint64_t end) {
  AttendParameters p{};
  p.cells = static_cast<uint32_t>(shape.cells);
  p.key_dim = shape.key_dim;
  p.value_dim = shape.value_dim;
  p.segments = static_cast<uint32_t>(segments_of(shape.cells));
  p.biased = input.biased ? 1 : 0;
  p.free = output.free_count;
  p.subtract = output.subtract ? 1 : 0;
  const uint64_t lane_tiles = kLanes / kTile;
  for (; first < end; first += kLanes) {
    p.first = static_cast<uint32_t>(first);
    p.lanes = static_cast<uint32_t>(end - first < kLanes ? end - first : kLanes);
    work->run("turn_block", p, uint64_t{shape.key_dim} * kLanes, {input.queries, block.queries});
    work->run("score_tiles", p, tiles_of(shape.cells) * lane_tiles,
              {block.queries, input.keys, input.bias, block.weights});
    work->run("softmax_segments", p, uint64_t{p.segments} * kLanes, {block.weights, block.factors, block.totals});
    work->run("softmax_rows", p, kLanes, {block.factors, block.totals});
    if (output.maximum != nullptr)
      work->run("join_statistics", p, shape.cells,
                {block.weights, block.factors, *output.maximum, *output.sums, *output.squares});
    if (output.outputs != nullptr) {
      work->run("output_tiles", p, p.segments * tiles_of(shape.value_dim) * lane_tiles,
                {block.weights, input.values, block.partial});
      work->run("join_outputs", p, uint64_t{p.lanes} * shape.value_dim,
                {block.partial, block.factors, *output.outputs});
    }
    if (output.free != nullptr)
      work->run("gather_weights", p, uint64_t{p.lanes} * p.free,
                {block.weights, block.factors, *output.free, *output.free_weights});
  }
}

bool Scan::gather(Work *work, const Buffer &numbers, uint64_t count) {
  const uint64_t parts = (count + kScan - 1) / kScan;
  if (!partial_.allocate(parts * sizeof(uint32_t))) return false;
  const ScanParameters parameters = {0, static_cast<uint32_t>(count), static_cast<uint32_t>(count >> 32)};
  work->run("largest_bits", parameters, parts, {numbers, partial_});
  return true;
}

float Scan::largest() const {
  uint32_t most = 0;
  for (uint64_t i = 0; i < partial_.bytes() / sizeof(uint32_t); i++) {
    const uint32_t bits = partial_.as<uint32_t>()[i];
    most = bits > most ? bits : most;
  }
  float value = 0;
  std::memcpy(&value, &most, sizeof value);
  return std::isfinite(value) ? value : std::numeric_limits<float>::quiet_NaN();
}

float largest_of(const float *numbers, uint64_t count) {
  float most = 0;
  for (uint64_t i = 0; i < count; i++) {
    if (!std::isfinite(numbers[i])) return std::numeric_limits<float>::quiet_NaN();
    most = std::fabs(numbers[i]) > most ? std::fabs(numbers[i]) : most;
  }
  return most;
}

kvfold_status check_magnitudes(uint32_t key_dim, float queries, float keys, float values, float bias,
                               kvfold_error *error) {
  const struct {
    const char *name;
    float largest;
  } arrays[] = {{"queries", queries}, {"keys", keys}, {"values", values}, {"bias", bias}};
  for (const auto &array : arrays) {
    if (!(array.largest <= KVFOLD_ATTENTION_MAX_MAGNITUDE))
      return fail(error, KVFOLD_STATUS_ARGUMENT, "%s are not finite, or not below 2^96", array.name);
  }
  const double score = static_cast<double>(key_dim) * queries * keys;
  if (score <= KVFOLD_ATTENTION_MAX_MAGNITUDE) return KVFOLD_OK;
  return fail(error, KVFOLD_STATUS_ARGUMENT, "scores may overflow: queries and keys reach %g", score);
}

kvfold_status check_limit(uint64_t bytes, const kvfold_options &options, kvfold_error *error) {
  if (options.memory_limit == 0 || bytes <= options.memory_limit) return KVFOLD_OK;
  return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "attention needs %llu bytes to work in, the limit is %llu",
              static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(options.memory_limit));
}

bool load_queries(Work *work, const QueryRows &from, uint32_t head, uint64_t rows, const Buffer &out) {
  const kvfold_memory_layer &layer = *from.turn.layer;
  RowsParameters parameters{};
  parameters.rows = static_cast<uint32_t>(rows);
  parameters.dim = layer.key_dim;
  parameters.scale = static_cast<float>(from.turn.queries.scale);
  parameters.query_heads = from.turn.queries.heads;
  parameters.group = from.turn.queries.heads / layer.kv_heads;
  parameters.head = head;
  work->run("load_queries", parameters, rows * layer.key_dim, {from.bits, from.order, out});
  const RopeLayout rope = rope_of(layer);
  if (rope.pairs == 0) return true;
  Buffer deltas;
  if (!deltas.allocate(rows * sizeof(int64_t))) return false;
  for (uint64_t i = 0; i < rows; i++)
    deltas.as<int64_t>()[i] = turn_delta(from.turn, from.order.as<uint32_t>()[i] / parameters.group);
  rotate_rows(work, rope, layer.key_dim, rows, out, deltas, from.turns);
  return true;
}

}  // namespace metal
}  // namespace kvfold

// Kernels that compute slices at commit: weighted sums of members, and the same of turned keys. Products and sums are
// rounded apart, in the order of the members, as on the CPU.
#ifndef KVFOLD_CUDA_SUM_ROWS_H
#define KVFOLD_CUDA_SUM_ROWS_H

#include "cuda/q8_sums.h"
#include "cuda/slice.h"

namespace kvfold {
namespace cuda {

/// Blocks of kSumThreads that a multiprocessor holds at least: with more of them registers spill.
constexpr uint32_t kSumThreads = 256, kSumBlocks = 4;
constexpr uint32_t kUnitsOfTile = 2048, kTermsInFlight = 4;

/// What a thread computes at once: 16 bytes of a float type, or a block. `Raw` is loaded before anything is computed.
template <int32_t type>
struct Unit {
  static constexpr uint32_t kCount = kBlockChannels;
  using Raw = const uint8_t *;  // a block is read where it is
  __device__ static Raw load(const uint8_t *from, bool) { return from; }
  __device__ static void add(Raw raw, float weight, float *sum) {
#pragma unroll
    for (uint32_t i = 0; i < kCount; i++) sum[i] += weight * decode_in_block(type, raw, i);
  }
  __device__ static void store(const float *sum, uint8_t *to, bool) { encode_block(type, sum, to); }
};

template <int32_t type>
struct HalfUnit {
  static constexpr uint32_t kCount = 8;
  using Raw = uint4;
  __device__ static Raw load(const uint8_t *from, bool wide) {
    if (wide) return *reinterpret_cast<const uint4 *>(from);
    return {load_word(from), load_word(from + 4), load_word(from + 8), load_word(from + 12)};
  }
  __device__ static float value(uint32_t half) {
    const uint16_t bits = static_cast<uint16_t>(half);
    return type == KVFOLD_F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  }
  __device__ static uint32_t half(float value) { return type == KVFOLD_F16 ? f32_to_f16(value) : f32_to_bf16(value); }
  __device__ static void add(const Raw &raw, float weight, float *sum) {
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
      sum[2 * i] += weight * value(words[i] & 0xffffu);
      sum[2 * i + 1] += weight * value(words[i] >> 16);
    }
  }
  __device__ static void store(const float *sum, uint8_t *to, bool wide) {
    uint32_t words[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) words[i] = half(sum[2 * i]) | half(sum[2 * i + 1]) << 16;
    if (wide) {
      *reinterpret_cast<uint4 *>(to) = {words[0], words[1], words[2], words[3]};
      return;
    }
    for (uint32_t i = 0; i < 4; i++) {
      store_half(to + 4 * i, static_cast<uint16_t>(words[i]));
      store_half(to + 4 * i + 2, static_cast<uint16_t>(words[i] >> 16));
    }
  }
};
template <>
struct Unit<KVFOLD_F16> : HalfUnit<KVFOLD_F16> {};
template <>
struct Unit<KVFOLD_BF16> : HalfUnit<KVFOLD_BF16> {};

template <>
struct Unit<KVFOLD_F32> {
  static constexpr uint32_t kCount = 4;
  using Raw = float4;
  __device__ static Raw load(const uint8_t *from, bool wide) {
    const float *floats = reinterpret_cast<const float *>(from);
    if (wide) return *reinterpret_cast<const float4 *>(from);
    return make_float4(floats[0], floats[1], floats[2], floats[3]);
  }
  __device__ static void add(const Raw &raw, float weight, float *sum) {
    sum[0] += weight * raw.x;
    sum[1] += weight * raw.y;
    sum[2] += weight * raw.z;
    sum[3] += weight * raw.w;
  }
  __device__ static void store(const float *sum, uint8_t *to, bool wide) {
    float *floats = reinterpret_cast<float *>(to);
    if (wide) *reinterpret_cast<float4 *>(to) = make_float4(sum[0], sum[1], sum[2], sum[3]);
    else
      for (uint32_t i = 0; i < 4; i++) floats[i] = sum[i];
  }
};

/// Four channels of a block: eight threads make it.
template <>
struct Unit<KVFOLD_Q8_0> {
  static constexpr uint32_t kCount = kQ8Channels;
};

/// Channels of a thread.
__host__ __device__ constexpr uint32_t sum_channels(int32_t type) {
  switch (type) {
    case KVFOLD_F32: return Unit<KVFOLD_F32>::kCount;
    case KVFOLD_F16:
    case KVFOLD_BF16: return HalfUnit<KVFOLD_F16>::kCount;
    case KVFOLD_Q8_0: return Unit<KVFOLD_Q8_0>::kCount;
    default: return kBlockChannels;
  }
}

/// What a tile of written rows is made of, read once for all its channels.
struct SumTile {
  static constexpr uint32_t kRows = 32, kTerms = 256, kFlags = 2048;
  uint2 spans[kRows];            ///< members of a row
  uint8_t *to[kRows];            ///< its destination
  const uint8_t *source[kTerms]; ///< rows of the members from `base` on
  float weight[kTerms];          ///< unless every head has its own
  uint8_t sums[kFlags];          ///< [rows, heads]: 1 where the slice is a sum
};

/// Rows of a tile whose slices are `units` units a row in `heads` heads.
__host__ __device__ inline uint32_t rows_of_sum_tile(uint32_t units, uint32_t heads) {
  uint32_t rows = units >= kUnitsOfTile ? 1 : kUnitsOfTile / units;
  if (rows > SumTile::kRows) rows = SumTile::kRows;
  if (uint64_t{rows} * heads > SumTile::kFlags) rows = SumTile::kFlags / heads;
  return rows > 0 ? rows : 1;
}

/// The slices of written rows [first, first + rows) of one tensor.
class TileSums {
 public:
  __device__ TileSums(const TensorTable &tensor, const PlanTable &plan, uint32_t first, uint32_t rows, SumTile *tile)
      : tensor_(tensor), plan_(plan), tile_(*tile), first_(first),
        flagged_(uint64_t{rows} * tensor.heads <= SumTile::kFlags) {
    for (uint32_t row = threadIdx.x; row < rows; row += blockDim.x) {
      tile->spans[row] = plan.spans[first + row];
      tile->to[row] = tensor.data + plan.destinations[plan.written[first + row]] * tensor.row_bytes;
    }
    for (uint32_t at = threadIdx.x; flagged_ && at < rows * tensor.heads; at += blockDim.x) {
      const uint32_t head = at / rows, row = at - head * rows;
      tile->sums[row * tensor.heads + head] = tensor.entry(head, first + row, plan) == kSum ? 1 : 0;
    }
    __syncthreads();
    // spans rise with the rows; what lies between those of two written rows is read for nothing
    base_ = tile->spans[0].x;
    const uint32_t terms = tile->spans[rows - 1].y - base_;
    known_ = terms <= SumTile::kTerms;
    for (uint32_t at = threadIdx.x; known_ && at < terms; at += blockDim.x) {
      tile->source[at] = tensor.slice(plan.found[base_ + at], 0);
      if (tensor.scope != KVFOLD_SCOPE_HEAD) tile->weight[at] = weight_in(tensor, plan, 0, base_ + at);
    }
    __syncthreads();
  }
  __device__ bool is_sum(uint32_t row, uint32_t head) const {
    return flagged_ ? tile_.sums[row * tensor_.heads + head] != 0 : tensor_.entry(head, first_ + row, plan_) == kSum;
  }
  __device__ uint2 span(uint32_t row) const { return tile_.spans[row]; }
  __device__ uint8_t *to(uint32_t row) const { return tile_.to[row]; }
  __device__ float weight(uint32_t member, uint32_t head) const {
    if (known_ && tensor_.scope != KVFOLD_SCOPE_HEAD) return tile_.weight[member - base_];
    return weight_in(tensor_, plan_, head, member);
  }
  __device__ const uint8_t *source(uint32_t member) const {
    return known_ ? tile_.source[member - base_] : tensor_.slice(plan_.found[member], 0);
  }

 private:
  const TensorTable &tensor_;
  const PlanTable &plan_;
  const SumTile &tile_;
  uint32_t first_, base_;
  bool flagged_, known_;
};

/// A thread one unit after another; the loads of kTermsInFlight members are under way before any is used.
template <int32_t type, bool wide>
__device__ inline void sum_tile(const TensorTable &tensor, const TileSums &tile, uint32_t rows) {
  using Part = Unit<type>;
  const uint32_t of_slice = tensor.dim / Part::kCount, of_row = of_slice * tensor.heads, total = rows * of_row;
  const uint32_t bytes = Part::kCount / type_size(type).channels * type_size(type).bytes;
  for (uint32_t at = threadIdx.x; at < total; at += blockDim.x) {
    const uint32_t row = at / of_row, unit = at - row * of_row, head = unit / of_slice;
    if (!tile.is_sum(row, head)) continue;
    const size_t inside = size_t{head} * tensor.slice_bytes + size_t{unit - head * of_slice} * bytes;
    const uint2 span = tile.span(row);
    float sum[Part::kCount];
#pragma unroll
    for (uint32_t i = 0; i < Part::kCount; i++) sum[i] = 0.0f;
    for (uint32_t m = span.x; m < span.y; m += kTermsInFlight) {
      float weight[kTermsInFlight];
      typename Part::Raw raw[kTermsInFlight];
#pragma unroll
      for (uint32_t q = 0; q < kTermsInFlight; q++) {
        weight[q] = m + q < span.y ? tile.weight(m + q, head) : 0.0f;
        if (weight[q] != 0.0f) raw[q] = Part::load(tile.source(m + q) + inside, wide);
      }
#pragma unroll
      for (uint32_t q = 0; q < kTermsInFlight; q++) {
        if (weight[q] != 0.0f) Part::add(raw[q], weight[q], sum);
      }
    }
    Part::store(sum, tile.to(row) + inside, wide);
  }
}

/// Members of one block of a tile.
struct TileBlock {
  const TileSums &tile;
  uint32_t head;
  size_t inside;  // a row
  __device__ float weight(uint32_t member) const { return tile.weight(member, head); }
  __device__ const uint8_t *block(uint32_t member) const { return tile.source(member) + inside; }
};

/// All threads go round as often as the busiest, since those of a warp make blocks together.
__device__ inline void sum_q8_tile(const TensorTable &tensor, const TileSums &tile, uint32_t rows) {
  const uint32_t of_slice = tensor.dim / kQ8Channels, of_row = of_slice * tensor.heads, total = rows * of_row;
  for (uint32_t begin = 0; begin < total; begin += blockDim.x) {
    const uint32_t at = begin + threadIdx.x, row = at < total ? at / of_row : 0, unit = at - row * of_row;
    const uint32_t head = at < total ? unit / of_slice : 0, block = (unit - head * of_slice) / kQ8Lanes;
    const bool active = at < total && tile.is_sum(row, head);
    const size_t inside = size_t{head} * tensor.slice_bytes + size_t{block} * type_size(KVFOLD_Q8_0).bytes;
    sum_q8_block(TileBlock{tile, head, inside}, tile.span(row), active, tile.to(row) + inside);
  }
}

/// Row layout. grid: [tiles, tensors of that type]; written rows [begin, end).
template <int32_t type>
__global__ void __launch_bounds__(kSumThreads, kSumBlocks)
    sum_rows(const TensorTable *tensors, const uint32_t *ids, PlanTable plan, uint32_t begin, uint32_t end) {
  __shared__ SumTile space;
  const TensorTable tensor = tensors[ids[blockIdx.y]];
  const uint32_t most = rows_of_sum_tile(tensor.dim / Unit<type>::kCount * tensor.heads, tensor.heads);
  const uint64_t first = begin + uint64_t{blockIdx.x} * most;
  if (first >= end) return;
  const uint32_t rows = end - first < most ? static_cast<uint32_t>(end - first) : most;
  const TileSums tile(tensor, plan, static_cast<uint32_t>(first), rows, &space);
  if constexpr (type == KVFOLD_Q8_0) sum_q8_tile(tensor, tile, rows);
  else if (tensor.grain == 16) sum_tile<type, true>(tensor, tile, rows);
  else sum_tile<type, false>(tensor, tile, rows);
}

/// Angles depend on the cell alone where all heads of a cell were rotated alike: once for the row.
__device__ inline void find_turns(const TensorTable &tensor, const PlanTable &plan, uint32_t row, KnownTurns *known) {
  const uint32_t first = plan.offsets[row], members = plan.offsets[row + 1] - first;
  const uint32_t count = (members < KnownTurns::kMembers ? members : KnownTurns::kMembers) * tensor.pairs;
  for (uint32_t at = threadIdx.x; at < count; at += blockDim.x) {
    const uint32_t index = at / tensor.pairs, pair = at - index * tensor.pairs;
    const int64_t turn = turn_of_key(tensor, plan, row, 0, plan.members[first + index]);
    known->turns[index][pair] = turn_by(turn, tensor.frequencies[pair]);
  }
}

/// Turned keys: a block one row, a warp one head after another. grid: [written rows, tensors]
static __global__ void __launch_bounds__(kSliceWarps *kWarp) turn_rows(const TensorTable *tensors, const uint32_t *ids,
                                                                       PlanTable plan, uint32_t begin, uint32_t end) {
  __shared__ SliceSpace spaces[kSliceWarps];
  __shared__ KnownTurns known;
  const TensorTable tensor = tensors[ids[blockIdx.y]];
  const uint64_t index = uint64_t{begin} + blockIdx.x;
  if (index >= end) return;
  const uint32_t row = plan.written[index], warp = threadIdx.x / kWarp;
  bool any = false;
  for (uint32_t head = 0; head < tensor.heads; head++)
    any = any || tensor.entry(head, static_cast<uint32_t>(index), plan) == kTurn;
  if (!any) return;
  const bool alike = tensor.sources == nullptr;
  if (alike) find_turns(tensor, plan, row, &known);
  __syncthreads();
  uint8_t *cell = tensor.data + plan.destinations[row] * tensor.row_bytes;
  for (uint32_t head = warp; head < tensor.heads; head += kSliceWarps) {
    if (tensor.entry(head, static_cast<uint32_t>(index), plan) != kTurn) continue;
    sum_members(tensor, plan, true, row, head, true, alike ? &known : nullptr, &spaces[warp]);
    encode_slice(tensor.type, tensor.dim, spaces[warp].sum, cell + size_t{head} * tensor.slice_bytes);
  }
}

}  // namespace cuda
}  // namespace kvfold

#endif

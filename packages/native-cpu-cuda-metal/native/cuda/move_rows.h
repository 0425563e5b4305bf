// Kernels that move bytes: destination rows into the undo log and back, and slices that are copies.
//
// A block takes as many rows of a tensor as make about kWordsOfTile words, a thread four words at a time: four loads are
// under way before the first is stored.
#ifndef KVFOLD_CUDA_MOVE_ROWS_H
#define KVFOLD_CUDA_MOVE_ROWS_H

#include "cuda/tables.h"

namespace kvfold {
namespace cuda {

constexpr uint32_t kMoveThreads = 256, kWordsOfTile = 2048, kInFlight = 4;
constexpr uint32_t kChannelsOfThread = 8;

enum class Way { save, restore, copy };

__host__ __device__ inline uint32_t rows_of_tile(uint64_t words) {
  return words >= kWordsOfTile ? 1 : kWordsOfTile / static_cast<uint32_t>(words);
}

/// Where word `c` of written row `index` comes from and goes to; `from` is NULL when there is nothing to do.
struct Move {
  const uint8_t *from;
  uint8_t *to;
};

template <Way way>
__device__ inline Move move_of(const TensorTable &tensor, const PlanTable &plan, uint32_t index, uint32_t byte) {
  const uint32_t row = plan.written[index];
  uint8_t *cell = tensor.data + plan.destinations[row] * tensor.row_bytes + byte;
  uint8_t *logged = tensor.log + index * tensor.row_bytes + byte;
  if (way == Way::save) return {cell, logged};
  if (way == Way::restore) return {logged, cell};
  const uint32_t head = byte / tensor.slice_bytes, inside = byte - head * tensor.slice_bytes;
  const uint32_t entry = tensor.entry(head, index, plan);
  if (entry == kStored) {
    const uint32_t stored = tensor.stored_index[size_t{head} * plan.rows + row];
    return {tensor.stored + size_t{stored} * tensor.slice_bytes + inside, cell};
  }
  if (entry >= kStored) return {nullptr, nullptr};  // kSkip, kSum, kTurn
  return {tensor.slice(entry, head) + inside, cell};
}

/// Row layout. grid: [tiles, tensors]; written rows [begin, end).
template <typename Word, Way way>
__global__ void __launch_bounds__(kMoveThreads) move_rows(const TensorTable *tensors, const uint32_t *ids,
                                                          PlanTable plan, uint32_t begin, uint32_t end) {
  const TensorTable tensor = tensors[ids[blockIdx.y]];
  const uint32_t words = static_cast<uint32_t>(tensor.row_bytes / sizeof(Word)), rows = rows_of_tile(words);
  const uint64_t first = begin + uint64_t{blockIdx.x} * rows;
  if (first >= end) return;
  const uint32_t total = (end - first < rows ? static_cast<uint32_t>(end - first) : rows) * words;
  for (uint32_t at = threadIdx.x; at < total; at += kInFlight * blockDim.x) {
    Word word[kInFlight];
    uint8_t *to[kInFlight];
#pragma unroll
    for (uint32_t u = 0; u < kInFlight; u++) {
      const uint32_t k = at + u * blockDim.x, row = k / words;
      to[u] = nullptr;
      if (k >= total) continue;
      const uint32_t byte = (k - row * words) * static_cast<uint32_t>(sizeof(Word));
      const Move move = move_of<way>(tensor, plan, static_cast<uint32_t>(first) + row, byte);
      if (move.from == nullptr) continue;
      word[u] = *reinterpret_cast<const Word *>(move.from);
      to[u] = move.to;
    }
#pragma unroll
    for (uint32_t u = 0; u < kInFlight; u++) {
      if (to[u] != nullptr) *reinterpret_cast<Word *>(to[u]) = word[u];
    }
  }
}

/// The value of a transposed element that members make, or that was stored.
__device__ inline void write_element(const TensorTable &tensor, const PlanTable &plan, uint32_t index, uint32_t row,
                                     uint32_t channel, uint8_t *to) {
  const uint32_t head = channel / tensor.dim, entry = tensor.entry(head, index, plan);
  if (entry == kSkip || entry == kTurn) return;
  if (entry == kSum) {
    float sum = 0.0f;
    for (uint32_t m = plan.offsets[row]; m < plan.offsets[row + 1]; m++) {
      const float weight = weight_in(tensor, plan, head, m);
      if (weight != 0.0f) sum += weight * decode_element(tensor.type, tensor.element(plan.found[m], channel, plan));
    }
    return encode_element(tensor.type, sum, to);
  }
  const uint8_t *from;
  if (entry == kStored) {
    const uint32_t stored = tensor.stored_index[size_t{head} * plan.rows + row], j = channel - head * tensor.dim;
    from = tensor.stored + size_t{stored} * tensor.slice_bytes + size_t{j} * tensor.element_bytes;
  } else {
    from = tensor.element(entry, channel, plan);
  }
  if (tensor.element_bytes == 2) store_half(to, load_half(from));
  else *reinterpret_cast<uint32_t *>(to) = *reinterpret_cast<const uint32_t *>(from);
}

/// Transposed layout, a thread one written row of kChannelsOfThread channels; copies and sums alike.
/// grid: [row tiles x channel groups, tensors]
template <Way way>
__global__ void __launch_bounds__(kMoveThreads) move_channels(const TensorTable *tensors, const uint32_t *ids,
                                                              PlanTable plan, uint32_t begin, uint32_t end) {
  const TensorTable tensor = tensors[ids[blockIdx.y]];
  const uint32_t channels = tensor.heads * tensor.dim, groups = ceil_div(channels, kChannelsOfThread);
  const uint64_t index = begin + uint64_t{blockIdx.x / groups} * blockDim.x + threadIdx.x;
  if (index >= end) return;
  const uint32_t row = plan.written[index], slot = plan.destinations[row];
  const uint32_t from = blockIdx.x % groups * kChannelsOfThread;
  for (uint32_t channel = from; channel < channels && channel < from + kChannelsOfThread; channel++) {
    uint8_t *cell = tensor.data + (channel * tensor.capacity + slot) * tensor.element_bytes;
    uint8_t *logged = tensor.log + (size_t{channel} * plan.written_count + index) * tensor.element_bytes;
    if (way == Way::copy) {
      write_element(tensor, plan, static_cast<uint32_t>(index), row, channel, cell);
      continue;
    }
    const uint8_t *source = way == Way::save ? cell : logged;
    uint8_t *to = way == Way::save ? logged : cell;
    if (tensor.element_bytes == 2) store_half(to, load_half(source));
    else *reinterpret_cast<uint32_t *>(to) = *reinterpret_cast<const uint32_t *>(source);
  }
}

}  // namespace cuda
}  // namespace kvfold

#endif

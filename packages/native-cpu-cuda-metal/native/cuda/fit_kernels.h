// Kernels of a fit around the products: new rows as floats, targets in the order of the fit, sums of squares, and the
// solved values on their way into the type of the cache.
#ifndef KVFOLD_CUDA_FIT_KERNELS_H
#define KVFOLD_CUDA_FIT_KERNELS_H

#include "cuda/slice.h"

namespace kvfold {
namespace cuda {

/// Slices of the new rows as they will be stored, keys out of their Hadamard basis, before anything is written. A warp
/// one slice. out: [heads, rows, dim]; grid: [tiles of kSliceWarps rows, heads]
[[maybe_unused]] static __global__ void __launch_bounds__(kSliceWarps *kWarp) new_rows(TensorTable tensor, PlanTable plan, uint32_t from,
                                                               float *out) {
  __shared__ SliceSpace spaces[kSliceWarps];
  SliceSpace *space = &spaces[threadIdx.x / kWarp];
  const uint32_t row = blockIdx.x * kSliceWarps + threadIdx.x / kWarp, head = from + blockIdx.y;
  if (row >= plan.rows) return;
  const Made made = classify(tensor, plan, row, head);
  if (made.kind == kSkip) {
    decode_slice(tensor, plan, plan.slots[made.cell], head, space->sum);
  } else if (tensor.type == KVFOLD_Q8_0 && made.kind == kSum) {
    uint8_t *bytes = reinterpret_cast<uint8_t *>(space->member);
    sum_q8_slice(tensor, plan, row, head, bytes);
    decode_bytes(tensor.type, tensor.dim, bytes, space->sum);
  } else {
    sum_members(tensor, plan, false, row, head, made.kind == kTurn, nullptr, space);
    round_trip(tensor.type, tensor.dim, space->sum, reinterpret_cast<uint8_t *>(space->member));
  }
  if (tensor.keys != 0) hadamard(tensor.hadamard, space->sum, tensor.dim);
  __syncwarp();
  float *to = out + (size_t{blockIdx.y} * plan.rows + row) * tensor.dim;
  for (uint32_t j = lane_index(); j < tensor.dim; j += kWarp) to[j] = space->sum[j];
}

/// Known outputs into the order of the fit and the basis of the cache. grid: [tiles of kSliceWarps rows, heads]
[[maybe_unused]] static __global__ void __launch_bounds__(kSliceWarps *kWarp) take_targets(const float *outputs, const uint32_t *order,
                                                                   uint32_t rows, uint32_t dim, uint32_t block,
                                                                   float *targets) {
  __shared__ SliceSpace spaces[kSliceWarps];
  float *space = spaces[threadIdx.x / kWarp].member;
  const uint32_t place = blockIdx.x * kSliceWarps + threadIdx.x / kWarp;
  if (place >= rows) return;
  const float *from = outputs + (size_t{blockIdx.y} * rows + order[place]) * dim;
  for (uint32_t j = lane_index(); j < dim; j += kWarp) space[j] = from[j];
  hadamard(block, space, dim);
  float *to = targets + (size_t{blockIdx.y} * rows + place) * dim;
  for (uint32_t j = lane_index(); j < dim; j += kWarp) to[j] = space[j];
}

constexpr uint32_t kSquareThreads = 256;

/// |.|^2 of the fitting and of the judging rows of a head, in double and in a fixed order. out: [heads, 2]
/// grid: [2, heads]
[[maybe_unused]] static __global__ void __launch_bounds__(kSquareThreads) square_rows(const float *numbers, uint32_t rows, uint32_t fitting,
                                                              uint32_t dim, double *out) {
  __shared__ double sums[kSquareThreads];
  const uint32_t first = blockIdx.x == 0 ? 0 : fitting, end = blockIdx.x == 0 ? fitting : rows;
  const float *from = numbers + (size_t{blockIdx.y} * rows + first) * dim;
  const size_t count = size_t{end - first} * dim;
  double sum = 0;
  for (size_t i = threadIdx.x; i < count; i += kSquareThreads) sum += static_cast<double>(from[i]) * from[i];
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (uint32_t half = kSquareThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) out[size_t{blockIdx.y} * 2 + blockIdx.x] = sums[0];
}

/// Encodes values into stored slices, a warp one slice; `bad[head]`, and with it the row, when the type cannot hold one.
__device__ inline void store_slice(const TensorTable &tensor, uint32_t stored, float *values, uint32_t *bad,
                                   uint32_t row) {
  uint8_t *slice = const_cast<uint8_t *>(tensor.stored) + size_t{stored} * tensor.slice_bytes;
  encode_slice(tensor.type, tensor.dim, values, slice);
  bool finite = true;
  for (uint32_t j = lane_index(); j < tensor.dim; j += kWarp)
    finite = finite && (__float_as_int(decode_at(tensor.type, slice, j)) & 0x7f800000) != 0x7f800000;
  if (!finite) atomicMin(bad, row);
}

/// Solved values: value + change. cells: [heads, ld] rows of the plan. grid: [tiles of kSliceWarps free rows, heads]
[[maybe_unused]] static __global__ void __launch_bounds__(kSliceWarps *kWarp) store_fitted(TensorTable tensor, PlanTable plan, uint32_t from,
                                                                   const float *values, const float *change,
                                                                   const uint32_t *cells, const uint32_t *counts,
                                                                   uint32_t ld, uint32_t *bad) {
  __shared__ SliceSpace spaces[kSliceWarps];
  float *space = spaces[threadIdx.x / kWarp].member;
  const uint32_t f = blockIdx.x * kSliceWarps + threadIdx.x / kWarp, head = from + blockIdx.y;
  if (f >= counts[blockIdx.y]) return;
  const uint32_t row = cells[size_t{blockIdx.y} * ld + f];
  const float *value = values + (size_t{blockIdx.y} * plan.rows + row) * tensor.dim;
  const float *add = change + (size_t{blockIdx.y} * ld + f) * tensor.dim;
  for (uint32_t j = lane_index(); j < tensor.dim; j += kWarp) space[j] = value[j] + add[j];
  store_slice(tensor, tensor.stored_index[size_t{head} * plan.rows + row], space, bad + blockIdx.y, row);
}

/// Given values. cells: head and row of each. grid: [tiles of kSliceWarps values]
[[maybe_unused]] static __global__ void __launch_bounds__(kSliceWarps *kWarp) store_values(TensorTable tensor, PlanTable plan,
                                                                   const float *given, const uint2 *cells,
                                                                   uint32_t count, uint32_t *bad) {
  __shared__ SliceSpace spaces[kSliceWarps];
  float *space = spaces[threadIdx.x / kWarp].member;
  const uint32_t i = blockIdx.x * kSliceWarps + threadIdx.x / kWarp;
  if (i >= count) return;
  for (uint32_t j = lane_index(); j < tensor.dim; j += kWarp) space[j] = given[size_t{i} * tensor.dim + j];
  hadamard(tensor.hadamard, space, tensor.dim);
  store_slice(tensor, tensor.stored_index[size_t{cells[i].x} * plan.rows + cells[i].y], space, bad, i);
}

}  // namespace cuda
}  // namespace kvfold

#endif

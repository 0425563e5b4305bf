// Slices made by a warp, element j by lane j % 32, in shared memory: decode, Hadamard, rotate, sum, encode. The order of
// operations is that of the CPU, element by element, so that the bits are the same.
#ifndef KVFOLD_CUDA_SLICE_H
#define KVFOLD_CUDA_SLICE_H

#include "cuda/q8_sums.h"
#include "cuda/tables.h"

namespace kvfold {
namespace cuda {

/// The longest head that the backend takes.
constexpr uint32_t kMaxDim = 512;
/// Warps of a block that makes slices, each with its own space in shared memory.
constexpr uint32_t kSliceWarps = 4;

struct SliceSpace {
  float member[kMaxDim];
  float sum[kMaxDim];
};

__device__ inline uint32_t lane_index() { return threadIdx.x % kWarp; }

/// Normalised Walsh-Hadamard transform of blocks of that many channels; 0: nothing.
__device__ inline void hadamard(uint32_t block, float *values, uint32_t count) {
  if (block < 2) return;
  __syncwarp();
  const float scale = static_cast<float>(1.0 / sqrt(static_cast<double>(block)));
  for (uint32_t half = 1; half < block; half *= 2) {
    for (uint32_t i = lane_index(); i < count / 2; i += kWarp) {
      float *a = values + (i / half) * 2 * half + i % half;
      const float x = a[0], y = a[half];
      a[0] = x + y;
      a[half] = x - y;
    }
    __syncwarp();
  }
  for (uint32_t i = lane_index(); i < count; i += kWarp) values[i] *= scale;
  __syncwarp();
}

struct Turn {
  float cosine, sine;
};

/// `turn` times a frequency. In double, rounded once.
__device__ inline Turn turn_by(int64_t turn, double frequency) {
  const double angle = static_cast<double>(turn) * frequency;
  return {static_cast<float>(cos(angle)), static_cast<float>(sin(angle))};
}

/// `known`: [pairs] the turns, or NULL: they are computed.
__device__ inline void rotate(uint32_t pairing, uint32_t pairs, const double *frequencies, int64_t turn,
                              const Turn *known, float *key) {
  __syncwarp();
  for (uint32_t i = lane_index(); i < pairs; i += kWarp) {
    float *a = key + (pairing == KVFOLD_ROPE_INTERLEAVED ? 2 * i : i);
    float *b = pairing == KVFOLD_ROPE_INTERLEAVED ? a + 1 : a + pairs;
    const Turn by = known != nullptr ? known[i] : turn_by(turn, frequencies[i]);
    const float x = *a, y = *b;
    *a = x * by.cosine - y * by.sine;
    *b = x * by.sine + y * by.cosine;
  }
  __syncwarp();
}

/// out: [dim]. A source as it lies, in either layout.
__device__ inline void decode_slice(const TensorTable &tensor, const PlanTable &plan, uint32_t source, uint32_t head,
                                    float *out) {
  const uint8_t *slice = tensor.transposed != 0 ? nullptr : tensor.slice(source, head);
  if (tensor.transposed == 0 && tensor.element_bytes == 2 && tensor.grain >= 4) {  // two halves a load
    for (uint32_t j = 2 * lane_index(); j < tensor.dim; j += 2 * kWarp) {
      const uint32_t word = *reinterpret_cast<const uint32_t *>(slice + size_t{j} * 2);
      const uint16_t low = static_cast<uint16_t>(word), high = static_cast<uint16_t>(word >> 16);
      out[j] = tensor.type == KVFOLD_F16 ? f16_to_f32(low) : bf16_to_f32(low);
      out[j + 1] = tensor.type == KVFOLD_F16 ? f16_to_f32(high) : bf16_to_f32(high);
    }
    __syncwarp();
    return;
  }
  for (uint32_t j = lane_index(); j < tensor.dim; j += kWarp) {
    out[j] = tensor.transposed != 0
                 ? decode_element(tensor.type, tensor.element(source, head * tensor.dim + j, plan))
                 : decode_at(tensor.type, slice, j);
  }
  __syncwarp();
}

/// Turns of the first members of a row, known for all heads of a block of threads.
struct KnownTurns {
  static constexpr uint32_t kMembers = 4;
  Turn turns[kMembers][kMaxDim / 2];
};

/// space->sum: the sum of the members, in the basis of the cache. `known` may be NULL.
__device__ inline void sum_members(const TensorTable &tensor, const PlanTable &plan, bool committing, uint32_t row,
                                   uint32_t head, bool turned, const KnownTurns *known, SliceSpace *space) {
  for (uint32_t j = lane_index(); j < tensor.dim; j += kWarp) space->sum[j] = 0.0f;
  for (uint32_t m = plan.offsets[row]; m < plan.offsets[row + 1]; m++) {
    const float weight = weight_in(tensor, plan, head, m);
    if (weight == 0.0f) continue;
    const uint32_t cell = plan.members[m];
    __syncwarp();
    decode_slice(tensor, plan, source_of(plan, m, committing), head, space->member);
    if (turned) {
      hadamard(tensor.hadamard, space->member, tensor.dim);
      const uint32_t index = m - plan.offsets[row];
      rotate(tensor.pairing, tensor.pairs, tensor.frequencies, turn_of_key(tensor, plan, row, head, cell),
             known != nullptr && index < KnownTurns::kMembers ? known->turns[index] : nullptr, space->member);
    }
    for (uint32_t j = lane_index(); j < tensor.dim; j += kWarp) space->sum[j] += weight * space->member[j];
  }
  if (turned) hadamard(tensor.hadamard, space->sum, tensor.dim);
  __syncwarp();
}

/// Floats in shared memory to a slice in row layout.
__device__ inline void encode_slice(int32_t type, uint32_t dim, const float *values, uint8_t *slice) {
  const TypeSize size = type_size(type);
  __syncwarp();
  if (size.channels == 1) {
    for (uint32_t j = lane_index(); j < dim; j += kWarp)
      encode_element(type, values[j], slice + size_t{j} * size.bytes);
  } else {
    for (uint32_t block = lane_index(); block < dim / size.channels; block += kWarp)
      encode_block(type, values + block * size.channels, slice + size_t{block} * size.bytes);
  }
  __syncwarp();
}

/// A slice in row layout to floats in shared memory.
__device__ inline void decode_bytes(int32_t type, uint32_t dim, const uint8_t *slice, float *values) {
  for (uint32_t j = lane_index(); j < dim; j += kWarp) values[j] = decode_at(type, slice, j);
  __syncwarp();
}

/// Members of one block of a slice, before the commit.
struct SliceBlock {
  const TensorTable &tensor;
  const PlanTable &plan;
  uint32_t head;
  size_t inside;  // a slice
  __device__ float weight(uint32_t member) const { return weight_in(tensor, plan, head, member); }
  __device__ const uint8_t *block(uint32_t member) const {
    return tensor.slice(source_of(plan, member, false), head) + inside;
  }
};

/// to: bytes of a q8_0 slice that is the sum of its members.
__device__ inline void sum_q8_slice(const TensorTable &tensor, const PlanTable &plan, uint32_t row, uint32_t head,
                                    uint8_t *to) {
  const uint32_t blocks = tensor.dim / kBlockChannels, together = kWarp / kQ8Lanes;
  const uint2 span = {plan.offsets[row], plan.offsets[row + 1]};
  for (uint32_t first = 0; first < blocks; first += together) {
    const uint32_t block = first + lane_index() / kQ8Lanes;
    const size_t inside = size_t{block} * type_size(KVFOLD_Q8_0).bytes;
    sum_q8_block(SliceBlock{tensor, plan, head, inside}, span, block < blocks, to + inside);
  }
  __syncwarp();
}

/// values: [dim] in shared memory, as they come back out of the type. Storage of the slice is `bytes`.
__device__ inline void round_trip(int32_t type, uint32_t dim, float *values, uint8_t *bytes) {
  encode_slice(type, dim, values, bytes);
  decode_bytes(type, dim, bytes, values);
}

}  // namespace cuda
}  // namespace kvfold

#endif

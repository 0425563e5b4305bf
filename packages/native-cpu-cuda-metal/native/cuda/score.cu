// Key statistics: norms, and the cosine to the mean direction of a head. Sums run in the order in which the CPU adds
// them (cpu/score.cc): chains over channels, blocks of 128 cells, then the blocks.
#include "cuda/fold.h"
#include "cuda/read.h"

namespace kvfold {
namespace cuda {
namespace {

constexpr uint32_t kCellsOfBlock = 128, kThreads = 128;

__device__ inline float dot(const float *a, const float *b, uint32_t count) {
  float sum = 0.0f;
  for (uint32_t i = 0; i < count; i++) sum += a[i] * b[i];
  return sum;
}

struct Scoring {
  const float *keys;  ///< [heads, cells, dim], not rotated
  float *norm, *mean_cosine;  ///< [heads, cells]
  double *partial;    ///< [heads, blocks, dim]
  float *mean;        ///< [heads, dim], of length 1 or 0
  uint32_t cells, dim, blocks;
};

/// Norms of a block of cells, and the sum of their unit keys. grid: [blocks, heads]
__global__ void sum_block(Scoring s) {
  __shared__ float norms[kCellsOfBlock];
  const uint32_t head = blockIdx.y, first = blockIdx.x * kCellsOfBlock;
  const uint32_t count = s.cells - first < kCellsOfBlock ? s.cells - first : kCellsOfBlock;
  const float *keys = s.keys + (size_t{head} * s.cells + first) * s.dim;
  if (threadIdx.x < count) {
    const float *key = keys + size_t{threadIdx.x} * s.dim;
    norms[threadIdx.x] = sqrtf(dot(key, key, s.dim));
    s.norm[size_t{head} * s.cells + first + threadIdx.x] = norms[threadIdx.x];
  }
  __syncthreads();
  for (uint32_t j = threadIdx.x; j < s.dim; j += blockDim.x) {
    double sum = 0;
    for (uint32_t c = 0; c < count; c++) {
      if (norms[c] > 0.0f) sum += keys[size_t{c} * s.dim + j] / norms[c];
    }
    s.partial[(size_t{head} * s.blocks + blockIdx.x) * s.dim + j] = sum;
  }
}

/// grid: [heads]
__global__ void finish_mean(Scoring s) {
  __shared__ double scale;
  double *partial = s.partial + size_t{blockIdx.x} * s.blocks * s.dim;
  for (uint32_t j = threadIdx.x; j < s.dim; j += blockDim.x) {
    double sum = 0;
    for (uint32_t block = 0; block < s.blocks; block++) sum += partial[size_t{block} * s.dim + j];
    partial[j] = sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double square = 0;
    for (uint32_t j = 0; j < s.dim; j++) square += partial[j] * partial[j];
    scale = square > 0 ? 1 / sqrt(square) : 0;
  }
  __syncthreads();
  for (uint32_t j = threadIdx.x; j < s.dim; j += blockDim.x)
    s.mean[size_t{blockIdx.x} * s.dim + j] = static_cast<float>(partial[j] * scale);
}

/// grid: [tiles of kThreads cells, heads]
__global__ void compare_keys(Scoring s) {
  const uint32_t cell = blockIdx.x * blockDim.x + threadIdx.x;
  if (cell >= s.cells) return;
  const size_t at = size_t{blockIdx.y} * s.cells + cell;
  const float size = s.norm[at], product = dot(s.keys + at * s.dim, s.mean + size_t{blockIdx.y} * s.dim, s.dim);
  s.mean_cosine[at] = size > 0.0f ? product / size : 0.0f;
}

struct Buffers {
  Buffer<float> keys, results, mean;
  Buffer<double> partial;
};

kvfold_status score(const Reading &reading, Device *device, float *norm, float *mean_cosine, kvfold_error *error) {
  const uint32_t heads = reading.tensor.heads, dim = reading.tensor.dim;
  const size_t slices = size_t{heads} * reading.cells;
  Scoring s{};
  s.cells = reading.cells;
  s.dim = dim;
  s.blocks = ceil_div(reading.cells, kCellsOfBlock);
  Buffers buffers;
  if (kvfold_status status = buffers.keys.allocate(device, slices * dim, "keys", error)) return status;
  if (kvfold_status status = buffers.results.allocate(device, 2 * slices, "statistics", error)) return status;
  if (kvfold_status status = buffers.mean.allocate(device, size_t{heads} * dim, "means", error)) return status;
  if (kvfold_status status =
          buffers.partial.allocate(device, size_t{heads} * s.blocks * dim, "sums of keys", error))
    return status;
  s.keys = buffers.keys.data();
  s.norm = buffers.results.data();
  s.mean_cosine = s.norm + slices;
  s.mean = buffers.mean.data();
  s.partial = buffers.partial.data();
  if (kvfold_status status = decode_rows(*device, reading, 0, heads, buffers.keys.data(), error)) return status;
  const cudaStream_t stream = device->stream();
  const dim3 blocks(s.blocks, heads), tiles(ceil_div(s.cells, kThreads), heads);
  if (kvfold_status status = check(launch(sum_block, blocks, kThreads, stream, s), "key statistics", error))
    return status;
  if (kvfold_status status = check(launch(finish_mean, dim3(heads), kThreads, stream, s), "key statistics", error))
    return status;
  if (kvfold_status status = check(launch(compare_keys, tiles, kThreads, stream, s), "key statistics", error))
    return status;
  if (kvfold_status status = device->download(norm, s.norm, slices * sizeof(float), error)) return status;
  return device->download(mean_cosine, s.mean_cosine, slices * sizeof(float), error);
}

}  // namespace

kvfold_status key_stats(const kvfold_read *read, const kvfold_options *options, float *norm, float *mean_cosine,
                        kvfold_error *error) {
  try {
    kvfold_read unrotated = *read;
    unrotated.kind = KVFOLD_KEYS;
    unrotated.unrotate = 1;
    unrotated.undo_hadamard = 1;
    if (cancelled(options)) return fail_aborted(error);
    ReadBuffers buffers;
    Reading reading{};
    if (kvfold_status status = buffers.upload(unrotated, &reading, error)) return status;
    if (reading.cells == 0) return KVFOLD_OK;
    return score(reading, buffers.device, norm, mean_cosine, error);
  } catch (...) {
    return fail_memory(error, "key statistics");
  }
}

}  // namespace cuda
}  // namespace kvfold

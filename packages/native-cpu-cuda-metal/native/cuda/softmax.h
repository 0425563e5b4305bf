// Attention of a few heads over floats on the device, a chunk of cells at a time.
#ifndef KVFOLD_CUDA_SOFTMAX_H
#define KVFOLD_CUDA_SOFTMAX_H

#include "cuda/gemm.h"

namespace kvfold {
namespace cuda {

/// Cells whose scores exist at the same time.
constexpr uint32_t kCellsOfChunk = 2048;

/// Heads that are attended with at once; device memory.
struct Heads {
  uint32_t count, rows, cells, key_dim, value_dim;
  const float *queries;  ///< [count, rows, key_dim]
  const float *keys;     ///< [count, cells, key_dim]
  const float *values;   ///< [count, cells, value_dim], or NULL
  const float *bias;     ///< [cells], or NULL

  uint32_t chunk() const { return cells < kCellsOfChunk ? (cells + 3) / 4 * 4 : kCellsOfChunk; }
};

/// Space of attend_heads.
struct SoftmaxSpace {
  Buffer<float> scores;   ///< [count, rows, chunk]
  Buffer<float> tops;     ///< [count, rows]
  Buffer<float> inverses; ///< [count, rows]: 1 / total
  Buffer<double> totals;  ///< [count, rows]

  static uint64_t bytes(const Heads &heads);
  kvfold_status reserve(Device *device, const Heads &heads, kvfold_error *error);
};

/// What is wanted; device memory, each may be NULL.
struct Wanted {
  float *maximum, *mean, *rms;  ///< [count, cells]
  float *outputs;               ///< [count, rows, value_dim]: written, or with `subtract` taken off
  bool subtract;
  float *chosen;                ///< [count, rows, chosen_ld]: the weights of some cells
  const uint32_t *cells;        ///< [count, chosen_ld], ascending; how many: `chosen_counts` [count]
  const uint32_t *chosen_counts;
  uint32_t chosen_ld;
};

/// Polls `options` between chunks.
kvfold_status attend_heads(const Device &device, const Heads &heads, const SoftmaxSpace &space, const Wanted &wanted,
                           const kvfold_options &options, kvfold_error *error);

/// The largest row norm of queries and of keys and the largest value, checked against the limits of attention.h: no
/// score overflows. `name` in the sentence: what the cells are.
kvfold_status check_numbers(Device *device, const Heads &heads, const char *name, kvfold_error *error);
/// The same rule for a bias in host memory.
kvfold_status check_bias(const kvfold_f32_span &bias, kvfold_error *error);

}  // namespace cuda
}  // namespace kvfold

#endif

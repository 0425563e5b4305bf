// Key statistics: norms, and the cosine to the mean direction of a head. Two passes over blocks of cells; the partial
// sums of the blocks are added in their order, so the bits do not depend on how many threads there are.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "common/error.h"
#include "common/location.h"
#include "cpu/fold.h"
#include "cpu/pool.h"
#include "cpu/read.h"

namespace kvfold {
namespace cpu {
namespace {

constexpr size_t kCellsOfBlock = 128;

struct Scoring {
  const kvfold_read &read;
  const Tensor tensor;
  const size_t cells;
  float *norm;         // [heads, cells]
  float *mean_cosine;  // [heads, cells]
  std::vector<double> partial;  // [blocks, heads, dim]
  std::vector<float> mean;      // [heads, dim], of length 1 or 0

  size_t blocks() const { return (cells + kCellsOfBlock - 1) / kCellsOfBlock; }

  void sum_block(size_t block, Angles *angles, float *key) {
    const size_t end = std::min(cells, (block + 1) * kCellsOfBlock);
    for (size_t c = block * kCellsOfBlock; c < end; c++) {
      for (size_t head = 0; head < tensor.heads; head++) {
        read_slice(read, tensor, head, c, angles, key);
        const float size = std::sqrt(kernels().dot(key, key, tensor.dim));
        norm[head * cells + c] = size;
        if (!(size > 0.0f)) continue;
        double *sum = partial.data() + (block * tensor.heads + head) * tensor.dim;
        kernels().add_to_mean(key, 1.0f / size, sum, tensor.dim);
      }
    }
  }

  void finish_mean(size_t head) {
    std::vector<double> sum(tensor.dim, 0.0);
    double square = 0;
    for (size_t block = 0; block < blocks(); block++) {
      const double *part = partial.data() + (block * tensor.heads + head) * tensor.dim;
      for (size_t j = 0; j < tensor.dim; j++) sum[j] += part[j];
    }
    for (double x : sum) square += x * x;
    const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
    for (size_t j = 0; j < tensor.dim; j++) mean[head * tensor.dim + j] = static_cast<float>(sum[j] * scale);
  }

  void compare_block(size_t block, Angles *angles, float *key) {
    const size_t end = std::min(cells, (block + 1) * kCellsOfBlock);
    for (size_t c = block * kCellsOfBlock; c < end; c++) {
      for (size_t head = 0; head < tensor.heads; head++) {
        read_slice(read, tensor, head, c, angles, key);
        const float size = norm[head * cells + c];
        const float product = kernels().dot(key, mean.data() + head * tensor.dim, tensor.dim);
        mean_cosine[head * cells + c] = size > 0.0f ? product / size : 0.0f;
      }
    }
  }
};

}  // namespace

kvfold_status key_stats(const kvfold_read *read, const kvfold_options *options, float *norm, float *mean_cosine,
                        kvfold_error *error) {
  if (kvfold_status status = require_location(*read->memory, KVFOLD_LOCATION_HOST, "cpu", error)) return status;
  try {
    kvfold_read unrotated = *read;
    unrotated.unrotate = 1;
    unrotated.undo_hadamard = 1;
    Scoring scoring{unrotated, tensor_of(*read->memory, read->layer, KVFOLD_KEYS), read->slots.length, norm,
                    mean_cosine, {}, {}};
    const size_t width = static_cast<size_t>(scoring.tensor.heads) * scoring.tensor.dim;
    scoring.partial.assign(scoring.blocks() * width, 0.0);
    scoring.mean.assign(width, 0.0f);
    std::vector<AngleSpace> angles(options->threads, AngleSpace(scoring.tensor.dim));
    for (AngleSpace &space : angles) space.bind();
    std::vector<std::vector<float>> keys(options->threads, std::vector<float>(scoring.tensor.dim));
    std::atomic<bool> stop{false};
    const auto pass = [&](void (Scoring::*block)(size_t, Angles *, float *)) {
      parallel_for(options->threads, scoring.blocks(), [&](size_t task, uint32_t worker) {
        if (stop.load(std::memory_order_relaxed)) return;
        if (cancelled(options)) return stop.store(true, std::memory_order_relaxed);
        (scoring.*block)(task, &angles[worker].angles, keys[worker].data());
      });
    };
    pass(&Scoring::sum_block);
    for (size_t head = 0; head < scoring.tensor.heads; head++) scoring.finish_mean(head);
    pass(&Scoring::compare_block);
    return stop.load() ? fail_aborted(error) : KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "key statistics");
  }
}

}  // namespace cpu
}  // namespace kvfold

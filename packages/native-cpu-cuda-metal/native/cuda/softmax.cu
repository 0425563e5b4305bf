// attend in two passes over chunks of cells: first every row's largest score and the sum of its exponentials, then the
// weights themselves, what each cell gets, and the outputs. Scores are computed twice and never all kept. Sums over many
// numbers run in double.
#include "cuda/softmax.h"

#include <algorithm>
#include <cmath>

#include "attention.h"

namespace kvfold {
namespace cuda {
namespace {

constexpr uint32_t kThreads = 256, kRowsOfBlock = kThreads / kWarp, kColumns = 32;
constexpr float kLowest = -3.402823466e+38f;

struct Chunk {
  float *scores;     ///< [count, rows, ld]
  float *tops;       ///< [count, rows]
  float *inverses;   ///< [count, rows]
  double *totals;    ///< [count, rows]
  uint32_t rows, ld, from, cells;  ///< cells [from, from + cells) of all
};

/// Joins a chunk to what a row knows so far, a warp one row. grid: [row tiles, heads]
__global__ void __launch_bounds__(kThreads) join_rows(Chunk chunk) {
  const uint32_t row = blockIdx.x * kRowsOfBlock + threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (row >= chunk.rows) return;
  const size_t at = size_t{blockIdx.y} * chunk.rows + row;
  const float *scores = chunk.scores + at * chunk.ld;
  const float old = chunk.from == 0 ? kLowest : chunk.tops[at];
  float top = old;
  for (uint32_t c = lane; c < chunk.cells; c += kWarp) top = scores[c] > top ? scores[c] : top;
  top = warp_max(top);
  double sum = 0;
  for (uint32_t c = lane; c < chunk.cells; c += kWarp) sum += expf(scores[c] - top);
  sum = warp_sum(sum);
  if (lane != 0) return;
  const double before = chunk.from == 0 ? 0 : chunk.totals[at] * exp(static_cast<double>(old) - top);
  chunk.tops[at] = top;
  chunk.totals[at] = before + sum;
  chunk.inverses[at] = static_cast<float>(1 / (before + sum));
}

struct Statistics {
  float *maximum, *mean, *rms;
  uint32_t all_cells;
};

/// Scores become weights; sums over all rows. 32 columns, 8 rows at a time. grid: [column tiles, heads]
__global__ void __launch_bounds__(kThreads) weigh(Chunk chunk, Statistics out) {
  __shared__ float maxima[kThreads];
  __shared__ double sums[kThreads], squares[kThreads];
  const uint32_t column = blockIdx.x * kColumns + threadIdx.x % kColumns;
  float most = 0.0f;
  double sum = 0, square = 0;
  for (uint32_t row = threadIdx.x / kColumns; row < chunk.rows && column < chunk.cells; row += kThreads / kColumns) {
    const size_t at = size_t{blockIdx.y} * chunk.rows + row;
    float *score = chunk.scores + at * chunk.ld + column;
    const float weight = expf(*score - chunk.tops[at]) * chunk.inverses[at];
    *score = weight;
    most = weight > most ? weight : most;
    sum += weight;
    square += static_cast<double>(weight) * weight;
  }
  if (out.maximum == nullptr) return;
  maxima[threadIdx.x] = most;
  sums[threadIdx.x] = sum;
  squares[threadIdx.x] = square;
  __syncthreads();
  if (threadIdx.x >= kColumns || column >= chunk.cells) return;
  for (uint32_t t = threadIdx.x + kColumns; t < kThreads; t += kColumns) {
    most = maxima[t] > most ? maxima[t] : most;
    sum += sums[t];
    square += squares[t];
  }
  const size_t cell = size_t{blockIdx.y} * out.all_cells + chunk.from + column;
  out.maximum[cell] = most;
  out.mean[cell] = static_cast<float>(sum / chunk.rows);
  out.rms[cell] = static_cast<float>(sqrt(square / chunk.rows));
}

/// Copies the weights of chosen cells. grid: [row tiles x column tiles, heads]
__global__ void __launch_bounds__(kThreads) choose(Chunk chunk, const uint32_t *cells, const uint32_t *counts,
                                                   uint32_t ld, float *out) {
  const uint32_t count = counts[blockIdx.y], across = ceil_div(ld, kColumns);
  const uint32_t f = blockIdx.x % across * kColumns + threadIdx.x % kColumns;
  const uint32_t row = blockIdx.x / across * (kThreads / kColumns) + threadIdx.x / kColumns;
  if (f >= count || row >= chunk.rows) return;
  const uint32_t cell = cells[size_t{blockIdx.y} * ld + f];
  if (cell < chunk.from || cell - chunk.from >= chunk.cells) return;
  const size_t at = size_t{blockIdx.y} * chunk.rows + row;
  out[at * ld + f] = chunk.scores[at * chunk.ld + (cell - chunk.from)];
}

/// The largest |row|^2, or the largest |number|, as the bits of a double: not finite is larger than all. A warp one row.
__global__ void __launch_bounds__(kThreads) find_largest(const float *numbers, uint64_t rows, uint32_t width,
                                                         bool norms, unsigned long long *largest) {
  const uint64_t row = uint64_t{blockIdx.x} * kRowsOfBlock + threadIdx.x / kWarp;
  if (row >= rows) return;
  double sum = 0, most = 0;
  for (uint32_t j = threadIdx.x % kWarp; j < width; j += kWarp) {
    const double x = numbers[row * width + j];
    sum += x * x;
    most = fabs(x) > most ? fabs(x) : most;
  }
  sum = warp_sum(sum);
  most = warp_max(most);
  // of a row with a NaN the sum is NaN, whatever the maximum says
  const double found = norms || !(sum <= 1e300) ? sum : most;
  if (threadIdx.x % kWarp == 0) atomicMax(largest, static_cast<unsigned long long>(__double_as_longlong(found)));
}

Batch score_batch(const Heads &heads, const Chunk &chunk) {
  Batch batch{};
  batch.count = heads.count;
  for (uint32_t h = 0; h < heads.count; h++) {
    Product &p = batch.items[h];
    p.a = heads.queries + size_t{h} * heads.rows * heads.key_dim;
    p.b = heads.keys + (size_t{h} * heads.cells + chunk.from) * heads.key_dim;
    p.c = chunk.scores + size_t{h} * heads.rows * chunk.ld;
    p.start = heads.bias == nullptr ? nullptr : heads.bias + chunk.from;
    p.lda = p.ldb = heads.key_dim;
    p.ldc = chunk.ld;
    p.m = heads.rows;
    p.n = chunk.cells;
    p.k = heads.key_dim;
  }
  return batch;
}

Batch output_batch(const Heads &heads, const Chunk &chunk, const Wanted &wanted) {
  Batch batch{};
  batch.count = heads.count;
  batch.finish = wanted.subtract ? Finish::subtract : chunk.from == 0 ? Finish::store : Finish::add;
  for (uint32_t h = 0; h < heads.count; h++) {
    Product &p = batch.items[h];
    p.a = chunk.scores + size_t{h} * heads.rows * chunk.ld;
    p.b = heads.values + (size_t{h} * heads.cells + chunk.from) * heads.value_dim;
    p.c = wanted.outputs + size_t{h} * heads.rows * heads.value_dim;
    p.lda = chunk.ld;
    p.ldb = p.ldc = heads.value_dim;
    p.m = heads.rows;
    p.n = heads.value_dim;
    p.k = chunk.cells;
  }
  return batch;
}

kvfold_status use_weights(const Device &device, const Heads &heads, const Chunk &chunk, const Wanted &wanted,
                          kvfold_error *error) {
  const Statistics statistics = {wanted.maximum, wanted.mean, wanted.rms, heads.cells};
  const dim3 columns(ceil_div(chunk.cells, kColumns), heads.count);
  if (kvfold_status status =
          check(launch(weigh, columns, kThreads, device.stream(), chunk, statistics), "weighing cells", error))
    return status;
  if (wanted.chosen != nullptr) {
    const dim3 grid(ceil_div(wanted.chosen_ld, kColumns) * ceil_div(heads.rows, kThreads / kColumns), heads.count);
    const cudaError_t code = launch(choose, grid, kThreads, device.stream(), chunk, wanted.cells, wanted.chosen_counts,
                                    wanted.chosen_ld, wanted.chosen);
    if (kvfold_status status = check(code, "choosing weights", error)) return status;
  }
  if (wanted.outputs == nullptr) return KVFOLD_OK;
  return multiply(device, Stored::a_b, output_batch(heads, chunk, wanted), error);
}

kvfold_status largest_of(Device *device, const float *numbers, uint64_t rows, uint32_t width, bool norms,
                         unsigned long long *slot, kvfold_error *error) {
  const dim3 grid(ceil_div(rows, kRowsOfBlock));
  return check(launch(find_largest, grid, kThreads, device->stream(), numbers, rows, width, norms, slot),
               "checking numbers", error);
}

}  // namespace

uint64_t SoftmaxSpace::bytes(const Heads &heads) {
  return uint64_t{heads.count} * heads.rows * (sizeof(float) * (heads.chunk() + 2) + sizeof(double));
}

kvfold_status SoftmaxSpace::reserve(Device *device, const Heads &heads, kvfold_error *error) {
  const size_t rows = size_t{heads.count} * heads.rows;
  if (kvfold_status status = scores.reserve(device, rows * heads.chunk(), "scores", error)) return status;
  if (kvfold_status status = tops.reserve(device, rows, "scores", error)) return status;
  if (kvfold_status status = inverses.reserve(device, rows, "scores", error)) return status;
  return totals.reserve(device, rows, "scores", error);
}

kvfold_status attend_heads(const Device &device, const Heads &heads, const SoftmaxSpace &space, const Wanted &wanted,
                           const kvfold_options &options, kvfold_error *error) {
  const uint32_t ld = heads.chunk();
  const auto chunk_at = [&](uint32_t from) {
    return Chunk{space.scores.data(), space.tops.data(), space.inverses.data(), space.totals.data(), heads.rows, ld, from,
                 std::min(ld, heads.cells - from)};
  };
  for (uint32_t pass = 0; pass < 2; pass++) {
    for (uint32_t from = 0; from < heads.cells; from += ld) {
      if (cancelled(&options)) return fail_aborted(error);
      const Chunk chunk = chunk_at(from);
      const bool known = pass == 1 && heads.cells <= ld;  // the only chunk is still there
      if (!known) {
        if (kvfold_status status = multiply(device, Stored::a_bt, score_batch(heads, chunk), error)) return status;
      }
      kvfold_status status = KVFOLD_OK;
      if (pass == 0) {
        const dim3 grid(ceil_div(heads.rows, kRowsOfBlock), heads.count);
        status = check(launch(join_rows, grid, kThreads, device.stream(), chunk), "attending", error);
      } else {
        status = use_weights(device, heads, chunk, wanted, error);
      }
      if (status != KVFOLD_OK) return status;
    }
  }
  return KVFOLD_OK;
}

kvfold_status check_numbers(Device *device, const Heads &heads, const char *name, kvfold_error *error) {
  unsigned long long bits[3] = {0, 0, 0};
  Buffer<unsigned long long> found;
  if (kvfold_status status = found.upload(device, bits, 3, "a check", error)) return status;
  const uint64_t cells = uint64_t{heads.count} * heads.cells;
  if (kvfold_status status = largest_of(device, heads.queries, uint64_t{heads.count} * heads.rows, heads.key_dim, true,
                                        found.data(), error))
    return status;
  if (kvfold_status status = largest_of(device, heads.keys, cells, heads.key_dim, true, found.data() + 1, error))
    return status;
  if (heads.values != nullptr) {
    if (kvfold_status status = largest_of(device, heads.values, cells, heads.value_dim, false, found.data() + 2, error))
      return status;
  }
  if (kvfold_status status = device->download(bits, found.data(), sizeof bits, error)) return status;
  double largest[3];
  static_assert(sizeof largest == sizeof bits, "doubles travel as their bits");
  std::copy_n(reinterpret_cast<const unsigned char *>(bits), sizeof bits, reinterpret_cast<unsigned char *>(largest));
  const char *names[] = {"queries", "keys", "values"};
  for (int i = 0; i < 3; i++) {
    if (!std::isfinite(largest[i]))
      return fail(error, KVFOLD_STATUS_ARGUMENT, "%s of the %s are not finite", names[i], name);
  }
  if (std::sqrt(largest[0]) * std::sqrt(largest[1]) > double{KVFOLD_ATTENTION_MAX_MAGNITUDE})
    return fail(error, KVFOLD_STATUS_ARGUMENT, "scores may overflow: the longest query times the longest key is %g",
                std::sqrt(largest[0]) * std::sqrt(largest[1]));
  if (largest[2] > double{KVFOLD_ATTENTION_MAX_MAGNITUDE})
    return fail(error, KVFOLD_STATUS_ARGUMENT, "a value of the %s is %g: must be below 2^96", name, largest[2]);
  return KVFOLD_OK;
}

kvfold_status check_bias(const kvfold_f32_span &bias, kvfold_error *error) {
  for (uint64_t i = 0; i < bias.length; i++) {
    if (std::fabs(bias.data[i]) <= KVFOLD_ATTENTION_MAX_MAGNITUDE) continue;
    return fail(error, KVFOLD_STATUS_ARGUMENT, "bias[%llu] is %g: must be finite and below 2^96",
                static_cast<unsigned long long>(i), static_cast<double>(bias.data[i]));
  }
  return KVFOLD_OK;
}

}  // namespace cuda
}  // namespace kvfold

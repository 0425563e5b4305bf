// Right-looking blocked Cholesky. Diagonal blocks are factored and inverted in double by one block of threads each; all
// else is products.
#include "cuda/cholesky.h"

#include <algorithm>

namespace kvfold {
namespace cuda {
namespace {

constexpr uint32_t kThreads = 256;
// The floors of native/attention/cholesky.h, where they are derived.
constexpr double kPivotFloor = 3.814697265625e-06;    // 2^-18
constexpr double kPivotLeast = 9.313225746154785e-10;  // 2^-30

struct FreeCounts {
  uint32_t items[kBatch];
  const uint8_t *factors;
  uint32_t ld;
};

/// grid: [systems]
__global__ void __launch_bounds__(kThreads) ridge_kernel(Systems systems, double lambda, FreeCounts free,
                                                         Ridge *ridges) {
  __shared__ double sums[kThreads];
  const System &s = systems.items[blockIdx.x];
  double sum = 0;
  for (uint32_t i = threadIdx.x; i < s.n; i += kThreads) sum += s.matrix[size_t{i} * s.ld + i];
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (uint32_t half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  const double trace = sums[0];
  const uint32_t unknowns = free.items[blockIdx.x];
  const double ridge = unknowns == 0 ? 0 : lambda * trace / unknowns;
  double with_ridge = 0;
  for (uint32_t i = threadIdx.x; i < s.n; i += kThreads) {
    float *entry = s.matrix + size_t{i} * s.ld + i;
    const double factor = s.n == unknowns ? free.factors[size_t{blockIdx.x} * free.ld + i] : 1;
    *entry += static_cast<float>(ridge * factor);
    s.diagonal[i] = *entry;
    with_ridge += *entry;
  }
  __syncthreads();
  sums[threadIdx.x] = with_ridge;
  __syncthreads();
  for (uint32_t half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0)
    ridges[blockIdx.x] = {ridge, s.n == 0 ? 0 : kPivotLeast * sums[0] / s.n, trace};
}

using Small = double[kStep][kStep + 1];

/// Column by column; the rows below a pivot in parallel.
__device__ void factor_small(Small &a, uint32_t n, const float *diagonal, double least) {
  for (uint32_t j = 0; j < n; j++) {
    if (threadIdx.x == 0) {
      const double own = diagonal[j] * kPivotFloor, floor = own > least ? own : least;
      a[j][j] = sqrt(a[j][j] >= floor ? a[j][j] : floor);  // false for NaN
    }
    __syncthreads();
    const uint32_t i = j + 1 + threadIdx.x;
    if (i < n) a[i][j] /= a[j][j];
    __syncthreads();
    for (uint32_t at = threadIdx.x; at < kStep * kStep; at += kThreads) {
      const uint32_t row = at / kStep, column = at % kStep;
      if (column > j && column <= row && row < n) a[row][column] -= a[row][j] * a[column][j];
    }
    __syncthreads();
  }
}

/// Column j of L^-1 by thread j.
__device__ void invert_small(const Small &l, Small &inverse, uint32_t n) {
  const uint32_t j = threadIdx.x;
  if (j >= kStep) return;
  for (uint32_t i = 0; i < kStep; i++) {
    double sum = i == j ? 1.0 : 0.0;
    for (uint32_t k = j; k < i; k++) sum -= l[i][k] * inverse[k][j];
    inverse[i][j] = i < n && j < n && i >= j ? sum / l[i][i] : 0.0;
  }
}

/// grid: [systems]
__global__ void __launch_bounds__(kThreads) diagonal_block(Systems systems, const Ridge *ridges, uint32_t first) {
  __shared__ Small block, inverse;
  const System &s = systems.items[blockIdx.x];
  if (first >= s.n) return;
  const uint32_t n = s.n - first < kStep ? s.n - first : kStep;
  for (uint32_t at = threadIdx.x; at < kStep * kStep; at += kThreads) {
    const uint32_t i = at / kStep, j = at % kStep;
    block[i][j] = i < n && j <= i ? s.matrix[size_t{first + i} * s.ld + first + j] : 0.0;
  }
  __syncthreads();
  factor_small(block, n, s.diagonal + first, ridges[blockIdx.x].least);
  invert_small(block, inverse, n);
  __syncthreads();
  for (uint32_t at = threadIdx.x; at < kStep * kStep; at += kThreads)
    s.inverse[size_t{first} * kStep + at] = static_cast<float>(inverse[at / kStep][at % kStep]);
}

uint32_t most_unknowns(const Systems &systems) {
  uint32_t most = 0;
  for (uint32_t i = 0; i < systems.count; i++) most = std::max(most, systems.items[i].n);
  return most;
}

template <typename Describe>
kvfold_status each_system(const Device &device, const Systems &systems, Stored stored, Finish finish, bool lower,
                          Describe &&describe, kvfold_error *error) {
  Batch batch{};
  batch.count = systems.count;
  batch.finish = finish;
  batch.lower = lower;
  for (uint32_t i = 0; i < systems.count; i++) describe(systems.items[i], &batch.items[i]);
  return multiply(device, stored, batch, error);
}

/// Panel below a diagonal block, and what is right of it.
kvfold_status eliminate(const Device &device, const Systems &systems, uint32_t first, kvfold_error *error) {
  const uint32_t next = first + kStep;
  const auto panel = [=](const System &s, Product *p) {
    if (next >= s.n) return;
    float *below = s.matrix + size_t{next} * s.ld + first;
    *p = {below, s.inverse + size_t{first} * kStep, below, nullptr, s.ld, kStep, s.ld, s.n - next, kStep, kStep};
  };
  const auto update = [=](const System &s, Product *p) {
    if (next >= s.n) return;
    const float *below = s.matrix + size_t{next} * s.ld + first;
    *p = {below, below, s.matrix + size_t{next} * s.ld + next, nullptr, s.ld, s.ld, s.ld, s.n - next, s.n - next, kStep};
  };
  if (kvfold_status status = each_system(device, systems, Stored::a_bt, Finish::store, false, panel, error))
    return status;
  return each_system(device, systems, Stored::a_bt, Finish::subtract, true, update, error);
}

/// One step of the substitution: forward L, backward L^T.
kvfold_status substitute(const Device &device, const Systems &systems, uint32_t first, bool forward,
                         kvfold_error *error) {
  const auto own = [=](const System &s, Product *p) {
    if (first >= s.n) return;
    const uint32_t n = std::min(kStep, s.n - first);
    float *rows = s.right + size_t{first} * s.width;
    *p = {s.inverse + size_t{first} * kStep, rows, rows, nullptr, kStep, s.width, s.width, n, s.width, n};
  };
  const auto rest = [=](const System &s, Product *p) {
    if (first >= s.n) return;
    const uint32_t n = std::min(kStep, s.n - first), next = first + n;
    const float *rows = s.right + size_t{first} * s.width;
    if (forward) *p = {s.matrix + size_t{next} * s.ld + first, rows, s.right + size_t{next} * s.width, nullptr, s.ld,
                       s.width, s.width, s.n - next, s.width, n};
    else *p = {s.matrix + size_t{first} * s.ld, rows, s.right, nullptr, s.ld, s.width, s.width, first, s.width, n};
  };
  const Stored stored = forward ? Stored::a_b : Stored::at_b;
  if (kvfold_status status = each_system(device, systems, stored, Finish::store, false, own, error)) return status;
  return each_system(device, systems, stored, Finish::subtract, false, rest, error);
}

}  // namespace

kvfold_status add_ridges(const Device &device, const Systems &systems, const Ridges &of, Ridge *ridges,
                         kvfold_error *error) {
  FreeCounts counts{};
  std::copy_n(of.free, systems.count, counts.items);
  counts.factors = of.factors;
  counts.ld = of.ld;
  return check(launch(ridge_kernel, dim3(systems.count), kThreads, device.stream(), systems, of.lambda, counts, ridges),
               "the ridge", error);
}

kvfold_status factor(const Device &device, const Systems &systems, const Ridge *ridges, kvfold_error *error) {
  const uint32_t unknowns = most_unknowns(systems);
  for (uint32_t first = 0; first < unknowns; first += kStep) {
    const cudaError_t code =
        launch(diagonal_block, dim3(systems.count), kThreads, device.stream(), systems, ridges, first);
    if (kvfold_status status = check(code, "a factor", error)) return status;
    if (first + kStep >= unknowns) break;
    if (kvfold_status status = eliminate(device, systems, first, error)) return status;
  }
  return KVFOLD_OK;
}

kvfold_status solve(const Device &device, const Systems &systems, kvfold_error *error) {
  const uint32_t steps = ceil_div(most_unknowns(systems), kStep);
  for (uint32_t i = 0; i < steps; i++) {
    if (kvfold_status status = substitute(device, systems, i * kStep, true, error)) return status;
  }
  for (uint32_t i = steps; i-- > 0;) {
    if (kvfold_status status = substitute(device, systems, i * kStep, false, error)) return status;
  }
  return KVFOLD_OK;
}

}  // namespace cuda
}  // namespace kvfold

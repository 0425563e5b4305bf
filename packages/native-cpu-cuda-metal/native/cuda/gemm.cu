// Matrix products: a block one tile of 128 x 128, a thread 8 x 8 of it, the next 16 columns of A and rows of B loaded
// while the current ones are multiplied.
#include "cuda/gemm.h"

#include <algorithm>

namespace kvfold {
namespace cuda {
namespace {

constexpr uint32_t kThreads = 256, kDepth = 16, kPad = 4, kChunk = 128;
constexpr uint32_t kMicro = 8, kSide = 16;  // threads a side

using Panel = float[kDepth][kTile + kPad];

__device__ inline float4 load4(const float *from, uint32_t left) {
  if (left >= 4) return *reinterpret_cast<const float4 *>(from);
  float4 out = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (left > 0) out.x = from[0];
  if (left > 1) out.y = from[1];
  if (left > 2) out.z = from[2];
  return out;
}

/// What a thread carries from memory into a panel: two times four numbers. `turned`: memory runs along k.
template <bool turned>
struct Carrier {
  float4 held[2];

  __device__ void load(const float *matrix, uint32_t ld, uint32_t outer, uint32_t outer_end, uint32_t k,
                       uint32_t k_end) {
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
      const uint32_t at = threadIdx.x + i * kThreads;
      const uint32_t row = turned ? outer + at / 4 : k + at / 32, row_end = turned ? outer_end : k_end;
      const uint32_t column = turned ? k + at % 4 * 4 : outer + at % 32 * 4, end = turned ? k_end : outer_end;
      const uint32_t left = row < row_end && column < end ? end - column : 0;
      held[i] = load4(matrix + size_t{row} * ld + column, left);
    }
  }
  __device__ void store(Panel panel) const {
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
      const uint32_t at = threadIdx.x + i * kThreads;
      if (turned) {
        const uint32_t row = at / 4, column = at % 4 * 4;
        panel[column][row] = held[i].x;
        panel[column + 1][row] = held[i].y;
        panel[column + 2][row] = held[i].z;
        panel[column + 3][row] = held[i].w;
      } else {
        *reinterpret_cast<float4 *>(&panel[at / 32][at % 32 * 4]) = held[i];
      }
    }
  }
};

__device__ inline void take8(const float *row, uint32_t first, float *out) {
#pragma unroll
  for (uint32_t half = 0; half < 2; half++) {
    const float4 four = *reinterpret_cast<const float4 *>(row + half * (kTile / 2) + first);
    out[4 * half] = four.x;
    out[4 * half + 1] = four.y;
    out[4 * half + 2] = four.z;
    out[4 * half + 3] = four.w;
  }
}

__device__ inline void multiply_panels(const Panel a, const Panel b, uint32_t y, uint32_t x,
                                       float (&sum)[kMicro][kMicro]) {
#pragma unroll
  for (uint32_t k = 0; k < kDepth; k++) {
    float left[kMicro], right[kMicro];
    take8(a[k], 4 * y, left);
    take8(b[k], 4 * x, right);
#pragma unroll
    for (uint32_t i = 0; i < kMicro; i++) {
#pragma unroll
      for (uint32_t j = 0; j < kMicro; j++) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
    }
  }
}

/// Row or column of element i of a thread's 8.
__device__ inline uint32_t place(uint32_t thread, uint32_t i) { return i / 4 * (kTile / 2) + thread * 4 + i % 4; }

__device__ inline void finish_tile(const Product &p, Finish finish, uint32_t row, uint32_t column, uint32_t y,
                                   uint32_t x, const float (&sum)[kMicro][kMicro]) {
#pragma unroll
  for (uint32_t i = 0; i < kMicro; i++) {
    const uint32_t r = row + place(y, i);
    if (r >= p.m) continue;
#pragma unroll
    for (uint32_t j = 0; j < kMicro; j++) {
      const uint32_t c = column + place(x, j);
      if (c >= p.n) continue;
      float *to = p.c + size_t{r} * p.ldc + c;
      if (finish == Finish::store) *to = sum[i][j];
      else *to = finish == Finish::add ? *to + sum[i][j] : *to - sum[i][j];
    }
  }
}

template <bool a_turned, bool b_turned, bool precise>
__global__ void __launch_bounds__(kThreads, precise ? 1 : 2) product(Batch batch) {
  __shared__ Panel left[2], right[2];
  const Product &p = batch.items[blockIdx.y];
  const uint32_t across = ceil_div(p.n, kTile), row = blockIdx.x / (across == 0 ? 1 : across) * kTile;
  const uint32_t column = blockIdx.x % (across == 0 ? 1 : across) * kTile;
  if (row >= p.m || column >= p.n || (batch.lower && column >= row + kTile)) return;
  const uint32_t y = threadIdx.x / kSide, x = threadIdx.x % kSide;
  float sum[kMicro][kMicro], total[precise ? kMicro : 1][kMicro];
#pragma unroll
  for (uint32_t j = 0; j < kMicro; j++) {
    const uint32_t c = column + place(x, j);
    const float start = p.start != nullptr && c < p.n ? p.start[c] : 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < kMicro; i++) sum[i][j] = start;
  }
  if (precise) {
#pragma unroll
    for (uint32_t i = 0; i < kMicro; i++) {
#pragma unroll
      for (uint32_t j = 0; j < kMicro; j++) total[precise ? i : 0][j] = 0.0f;
    }
  }
  Carrier<a_turned> from_a;
  Carrier<b_turned> from_b;
  from_a.load(p.a, p.lda, row, p.m, 0, p.k);
  from_b.load(p.b, p.ldb, column, p.n, 0, p.k);
  from_a.store(left[0]);
  from_b.store(right[0]);
  __syncthreads();
  for (uint32_t k = 0, turn = 0; k < p.k; k += kDepth, turn ^= 1) {
    const bool more = k + kDepth < p.k;
    if (more) {
      from_a.load(p.a, p.lda, row, p.m, k + kDepth, p.k);
      from_b.load(p.b, p.ldb, column, p.n, k + kDepth, p.k);
    }
    multiply_panels(left[turn], right[turn], y, x, sum);
    if (more) {
      from_a.store(left[turn ^ 1]);
      from_b.store(right[turn ^ 1]);
    }
    if (precise && (k + kDepth) % kChunk == 0) {
#pragma unroll
      for (uint32_t i = 0; i < kMicro; i++) {
#pragma unroll
        for (uint32_t j = 0; j < kMicro; j++) {
          total[precise ? i : 0][j] += sum[i][j];
          sum[i][j] = 0.0f;
        }
      }
    }
    __syncthreads();
  }
  if (precise) {
#pragma unroll
    for (uint32_t i = 0; i < kMicro; i++) {
#pragma unroll
      for (uint32_t j = 0; j < kMicro; j++) sum[i][j] = total[precise ? i : 0][j] + sum[i][j];
    }
  }
  finish_tile(p, batch.finish, row, column, y, x, sum);
}

}  // namespace

kvfold_status multiply(const Device &device, Stored stored, const Batch &batch, kvfold_error *error) {
  uint32_t tiles = 0;
  for (uint32_t i = 0; i < batch.count; i++)
    tiles = std::max(tiles, ceil_div(batch.items[i].m, kTile) * ceil_div(batch.items[i].n, kTile));
  if (tiles == 0) return KVFOLD_OK;
  void (*kernel)(Batch) = nullptr;
  switch (stored) {
    case Stored::a_b: kernel = product<true, false, false>; break;
    case Stored::a_bt: kernel = product<true, true, false>; break;
    case Stored::at_b: kernel = product<false, false, false>; break;
    case Stored::a_bt_precise: kernel = product<true, true, true>; break;
    case Stored::at_b_precise: kernel = product<false, false, true>; break;
  }
  return check(launch(kernel, dim3(tiles, batch.count), kThreads, device.stream(), batch), "a matrix product", error);
}

}  // namespace cuda
}  // namespace kvfold

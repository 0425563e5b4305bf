// CUDA as this folder uses it: the real runtime under nvcc; otherwise the emulator, which runs the same kernels on the
// host, thread by thread, so that every line of them is tested where no GPU is.
#ifndef KVFOLD_CUDA_RUNTIME_H
#define KVFOLD_CUDA_RUNTIME_H

#if defined(__CUDACC__)
#include <cuda_runtime.h>

namespace kvfold {
namespace cuda {

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, uint32_t threads, cudaStream_t stream,
                   Arguments... arguments) {
  kernel<<<grid, threads, 0, stream>>>(static_cast<Parameters>(arguments)...);
  return cudaGetLastError();
}

}  // namespace cuda
}  // namespace kvfold
#else
#include "cuda/emulator/runtime.h"
#endif

namespace kvfold {
namespace cuda {

constexpr uint32_t kWarp = 32;

template <typename T>
__device__ inline T warp_sum(T value) {
  for (uint32_t step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

template <typename T>
__device__ inline T warp_max(T value) {
  for (uint32_t step = kWarp / 2; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(0xffffffffu, value, step);
    value = other > value ? other : value;
  }
  return value;
}

__host__ __device__ inline uint32_t ceil_div(uint64_t a, uint64_t b) { return static_cast<uint32_t>((a + b - 1) / b); }

}  // namespace cuda
}  // namespace kvfold

#endif

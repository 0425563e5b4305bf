// The part of the CUDA runtime that kvfold uses, on the host: memory with guards and poison, and a block of threads as
// fibers that switch at barriers. Two devices, so that layers can be spread. For tests; nothing is fast here.
#ifndef KVFOLD_CUDA_EMULATOR_RUNTIME_H
#define KVFOLD_CUDA_EMULATOR_RUNTIME_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // one block runs at a time

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDefault = 0;

struct EmulatedStream {
  int device;
};
using cudaStream_t = EmulatedStream *;
using cudaEvent_t = double *;

struct dim3 {
  uint32_t x, y, z;
  constexpr dim3(uint32_t a = 1, uint32_t b = 1, uint32_t c = 1) : x(a), y(b), z(c) {}
};
struct uint4 {
  uint32_t x, y, z, w;
};
struct uint2 {
  uint32_t x, y;
};
struct float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor, multiProcessorCount;
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t error);

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);

namespace kvfold {
namespace cuda {
namespace emulator {

cudaError_t run(dim3 grid, uint32_t threads, cudaStream_t stream, const std::function<void()> &body);
/// Shows `bytes` of this lane to the lane `step` away (exclusive or), and takes what that one shows.
void exchange(const void *own, void *other, size_t bytes, uint32_t step);

}  // namespace emulator

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, uint32_t threads, cudaStream_t stream,
                   Arguments... arguments) {
  return emulator::run(grid, threads, stream, [=] { kernel(static_cast<Parameters>(arguments)...); });
}

}  // namespace cuda
}  // namespace kvfold

template <typename T>
T __shfl_xor_sync(unsigned, T value, uint32_t step) {
  T other;
  kvfold::cuda::emulator::exchange(&value, &other, sizeof value, step);
  return other;
}

template <typename T>
T atomicAdd(T *to, T value) {
  const T before = *to;
  *to = before + value;
  return before;
}

template <typename T>
T atomicMax(T *to, T value) {
  const T before = *to;
  if (value > before) *to = value;
  return before;
}

template <typename T>
T atomicMin(T *to, T value) {
  const T before = *to;
  if (value < before) *to = value;
  return before;
}

inline long long __double_as_longlong(double value) {
  long long bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline int __float_as_int(float value) {
  int bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

#endif

// Emulated memory, streams and blocks. A fiber leaves at a barrier and comes back when all of its block, or of its warp,
// have arrived; those that ended count as arrived. The order of fibers between two barriers changes from barrier to
// barrier, so that a missing barrier shows as changing results.
#include "cuda/emulator/runtime.h"

#include <setjmp.h>
#include <ucontext.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr int kDevices = 2;
constexpr size_t kGuard = 64, kStack = 64 * 1024, kLanes = 32;
constexpr unsigned char kGuardByte = 0x5a, kPoison = 0xff;  // floats of poison are NaN

[[noreturn]] void die(const char *what) {
  std::fprintf(stderr, "CUDA emulator: %s\n", what);
  std::abort();
}

// ---------------------------------------------------------------------------------------------------------- memory

struct Memory {
  std::mutex mutex;
  std::map<unsigned char *, size_t> blocks;
  size_t used = 0;
};
Memory &memory() {
  static Memory all;
  return all;
}
thread_local int current = 0;

/// KVFOLD_EMULATED_BYTES bounds the memory of all devices together.
size_t limit() {
  const char *text = std::getenv("KVFOLD_EMULATED_BYTES");
  return text == nullptr ? SIZE_MAX : static_cast<size_t>(std::strtoull(text, nullptr, 10));
}

// ---------------------------------------------------------------------------------------------------------- fibers

enum class State { ready, at_block, at_warp, done };

struct Fiber {
  ucontext_t start;
  jmp_buf resume;
  bool started = false;
  State state = State::ready;
  std::unique_ptr<char[]> stack{new char[kStack]};
  unsigned char shown[16];
};

struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  const std::function<void()> *body = nullptr;
  jmp_buf scheduler;
  ucontext_t origin;
  uint32_t threads = 0, running = 0, turn = 0;
};
Block block;
std::mutex block_mutex;

void fiber_main() {
  (*block.body)();
  block.fibers[block.running]->state = State::done;
  _longjmp(block.scheduler, 1);
}

void wait(State state) {
  Fiber &self = *block.fibers[block.running];
  self.state = state;
  if (_setjmp(self.resume) == 0) _longjmp(block.scheduler, 1);
}

void run_fiber(uint32_t index) {
  Fiber &fiber = *block.fibers[index];
  block.running = index;
  threadIdx = dim3(index, 0, 0);
  if (_setjmp(block.scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.resume, 1);
  fiber.started = true;
  setcontext(&fiber.start);
}

/// Lets the fibers [from, to) go on when all that still run wait in that state.
bool release(uint32_t from, uint32_t to, State state) {
  bool any = false;
  for (uint32_t i = from; i < to; i++) {
    if (block.fibers[i]->state == State::done) continue;
    if (block.fibers[i]->state != state) return false;
    any = true;
  }
  for (uint32_t i = from; i < to; i++) {
    if (block.fibers[i]->state == state) block.fibers[i]->state = State::ready;
  }
  return any;
}

bool release_any() {
  bool any = release(0, block.threads, State::at_block);
  for (uint32_t warp = 0; warp < block.threads; warp += kLanes)
    any = release(warp, warp + kLanes < block.threads ? warp + kLanes : block.threads, State::at_warp) || any;
  return any;
}

void run_block(const std::function<void()> &body) {
  block.body = &body;
  for (uint32_t i = 0; i < block.threads; i++) {
    Fiber &fiber = *block.fibers[i];
    fiber.started = false;
    fiber.state = State::ready;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
    fiber.start.uc_stack.ss_size = kStack;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, fiber_main, 0);
  }
  do {
    block.turn++;
    for (uint32_t k = 0; k < block.threads; k++) {
      const uint32_t shifted = (k + block.turn * 37) % block.threads;
      const uint32_t i = block.turn % 2 == 0 ? shifted : block.threads - 1 - shifted;
      if (block.fibers[i]->state == State::ready) run_fiber(i);
    }
  } while (release_any());
  for (uint32_t i = 0; i < block.threads; i++) {
    if (block.fibers[i]->state != State::done) die("threads of a block wait at different barriers");
  }
}

double now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void __syncthreads() { wait(State::at_block); }
void __syncwarp(unsigned) { wait(State::at_warp); }

namespace kvfold {
namespace cuda {
namespace emulator {

cudaError_t run(dim3 grid, uint32_t threads, cudaStream_t stream, const std::function<void()> &body) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535 || threads == 0 || threads > 1024)
    return cudaErrorInvalidValue;
  if (stream == nullptr || stream->device != current) return cudaErrorInvalidResourceHandle;
  std::lock_guard<std::mutex> lock(block_mutex);
  while (block.fibers.size() < threads) block.fibers.push_back(std::make_unique<Fiber>());
  block.threads = threads;
  blockDim = dim3(threads, 1, 1);
  gridDim = grid;
  for (uint32_t z = 0; z < grid.z; z++) {
    for (uint32_t y = 0; y < grid.y; y++) {
      for (uint32_t x = 0; x < grid.x; x++) {
        blockIdx = dim3(x, y, z);
        run_block(body);
      }
    }
  }
  return cudaSuccess;
}

void exchange(const void *own, void *other, size_t bytes, uint32_t step) {
  const uint32_t self = block.running;
  if (bytes > sizeof(Fiber::shown) || (self ^ step) >= block.threads) die("a shuffle outside of the block");
  std::memcpy(block.fibers[self]->shown, own, bytes);
  wait(State::at_warp);
  std::memcpy(other, block.fibers[self ^ step]->shown, bytes);
  wait(State::at_warp);
}

}  // namespace emulator
}  // namespace cuda
}  // namespace kvfold

cudaError_t cudaGetDeviceCount(int *count) {
  *count = kDevices;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
  *properties = {"emulated on the host", size_t{1} << 33, 0, 0, 1};
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= kDevices) return cudaErrorInvalidDevice;
  current = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) {
  *device = current;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes) {
  std::lock_guard<std::mutex> lock(memory().mutex);
  if (bytes > limit() || memory().used > limit() - bytes) return cudaErrorMemoryAllocation;
  auto *raw = static_cast<unsigned char *>(std::aligned_alloc(256, (bytes + 2 * 256 + 255) / 256 * 256));
  if (raw == nullptr) return cudaErrorMemoryAllocation;
  unsigned char *data = raw + 256;
  std::memset(data - kGuard, kGuardByte, kGuard);
  std::memset(data, kPoison, bytes);
  std::memset(data + bytes, kGuardByte, kGuard);
  memory().blocks[data] = bytes;
  memory().used += bytes;
  *out = data;
  return cudaSuccess;
}

cudaError_t cudaFree(void *pointer) {
  if (pointer == nullptr) return cudaSuccess;
  std::lock_guard<std::mutex> lock(memory().mutex);
  const auto found = memory().blocks.find(static_cast<unsigned char *>(pointer));
  if (found == memory().blocks.end()) return cudaErrorInvalidValue;
  const size_t bytes = found->second;
  for (size_t i = 0; i < kGuard; i++) {
    if (found->first[bytes + i] != kGuardByte || *(found->first - 1 - i) != kGuardByte)
      die("something wrote outside of its memory");
  }
  std::free(found->first - 256);
  memory().blocks.erase(found);
  memory().used -= bytes;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  if (stream == nullptr || stream->device != current) return cudaErrorInvalidResourceHandle;
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  if (stream == nullptr || stream->device != current) return cudaErrorInvalidResourceHandle;
  if (bytes > 0) std::memset(to, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  *stream = new EmulatedStream{current};
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

cudaError_t cudaEventCreate(cudaEvent_t *event) {
  *event = new double(0);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  *event = now();
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
  *milliseconds = static_cast<float>(*to - *from);
  return cudaSuccess;
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidResourceHandle: return "a stream of another device";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    default: return "invalid argument";
  }
}

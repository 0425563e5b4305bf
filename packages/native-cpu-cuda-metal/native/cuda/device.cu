// Devices, their streams and memory. A device stays open until the process ends: streams and freed blocks are used again.
#include "cuda/device.h"

#include <cstdio>

#include "common/location.h"

namespace kvfold {
namespace cuda {
namespace {

/// Freed blocks up to this total stay with a device: allocating costs more than a small fold.
constexpr size_t kSpareBytes = size_t{512} << 20;
constexpr size_t kAlignment = 256;

size_t rounded(size_t bytes) { return bytes == 0 ? kAlignment : (bytes + kAlignment - 1) / kAlignment * kAlignment; }

Device *devices() {
  static auto *all = new Device[kMaxDevices];  // never destroyed: the driver may be gone by then
  return all;
}
std::mutex &open_mutex() {
  static auto *mutex = new std::mutex;
  return *mutex;
}

/// No driver and no device are no failure: there are none, and `error` says why.
kvfold_status count_devices(uint32_t *count, kvfold_error *error) {
  int found = 0;
  *count = 0;
  const cudaError_t code = cudaGetDeviceCount(&found);
  if (code == cudaErrorInsufficientDriver || code == cudaErrorNoDevice || (code == cudaSuccess && found == 0)) {
    cudaGetLastError();  // it would be reported again by the next launch
    fail(error, KVFOLD_STATUS_UNSUPPORTED, "no CUDA device: %s",
         code == cudaSuccess ? "the driver lists none" : cudaGetErrorString(code));
    return KVFOLD_OK;
  }
  if (kvfold_status status = check(code, "counting devices", error)) return status;
  *count = static_cast<uint32_t>(found) < kMaxDevices ? static_cast<uint32_t>(found) : kMaxDevices;
  return KVFOLD_OK;
}

kvfold_status describe(uint32_t ordinal, char *text, uint64_t bytes, kvfold_error *error) {
  cudaDeviceProp properties{};
  const cudaError_t code = cudaGetDeviceProperties(&properties, static_cast<int>(ordinal));
  if (kvfold_status status = check(code, "describing a device", error)) return status;
  std::snprintf(text, bytes, "%s, sm_%d%d, %.1f GiB", properties.name, properties.major, properties.minor,
                static_cast<double>(properties.totalGlobalMem) / (1u << 30));
  return KVFOLD_OK;
}

kvfold_status allocate(uint32_t ordinal, uint64_t bytes, void **out, kvfold_error *error) {
  *out = nullptr;
  Device *device = nullptr;
  if (kvfold_status status = Device::open(ordinal, &device, error)) return status;
  return check(cudaMalloc(out, bytes == 0 ? 1 : bytes), "allocating memory", error);
}

void release(uint32_t ordinal, void *memory) {
  kvfold_error error{};
  Device *device = nullptr;
  if (Device::open(ordinal, &device, &error) == KVFOLD_OK) cudaFree(memory);
}

kvfold_status copy(uint32_t ordinal, void *to, const void *from, uint64_t bytes, uint32_t way, kvfold_error *error) {
  constexpr cudaMemcpyKind kKinds[] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice};
  if (way > KVFOLD_COPY_WITHIN) return fail(error, KVFOLD_STATUS_ARGUMENT, "copy direction %u", way);
  Device *device = nullptr;
  if (kvfold_status status = Device::open(ordinal, &device, error)) return status;
  const cudaError_t code = cudaMemcpyAsync(to, from, bytes, kKinds[way], device->stream());
  if (kvfold_status status = check(code, "copying", error)) return status;
  return device->wait(error);
}

}  // namespace

kvfold_status check(cudaError_t code, const char *what, kvfold_error *error) {
  if (code == cudaSuccess) return KVFOLD_OK;
  cudaGetLastError();
  if (code == cudaErrorMemoryAllocation) return fail(error, KVFOLD_STATUS_NATIVE, "CUDA: out of memory (%s)", what);
  return fail(error, KVFOLD_STATUS_NATIVE, "CUDA: %s: %s", what, cudaGetErrorString(code));
}

kvfold_status Device::open(uint32_t ordinal, Device **out, kvfold_error *error) {
  std::lock_guard<std::mutex> lock(open_mutex());
  uint32_t count = 0;
  if (kvfold_status status = count_devices(&count, error)) return status;
  if (count == 0) return KVFOLD_STATUS_UNSUPPORTED;
  if (ordinal >= count)
    return fail(error, KVFOLD_STATUS_UNSUPPORTED, "there is no CUDA device %u, only %u of them", ordinal, count);
  Device &device = devices()[ordinal];
  device.ordinal_ = ordinal;
  if (kvfold_status status = device.use(error)) return status;
  if (device.stream_ == nullptr) {
    const cudaError_t code = cudaStreamCreateWithFlags(&device.stream_, cudaStreamNonBlocking);
    if (kvfold_status status = check(code, "making a stream", error)) return status;
  }
  *out = &device;
  return KVFOLD_OK;
}

kvfold_status Device::use(kvfold_error *error) const {
  return check(cudaSetDevice(static_cast<int>(ordinal_)), "choosing a device", error);
}

kvfold_status Device::wait(kvfold_error *error) const {
  return check(cudaStreamSynchronize(stream_), "waiting for the device", error);
}

kvfold_status Device::upload(void *to, const void *from, size_t bytes, kvfold_error *error) const {
  if (bytes == 0) return KVFOLD_OK;
  return check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copying to the device", error);
}

kvfold_status Device::download(void *to, const void *from, size_t bytes, kvfold_error *error) const {
  if (bytes == 0) return KVFOLD_OK;
  const cudaError_t code = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_);
  if (kvfold_status status = check(code, "copying from the device", error)) return status;
  return wait(error);
}

kvfold_status Device::take(size_t bytes, const char *what, void **out, kvfold_error *error) {
  const size_t wanted = rounded(bytes);
  if (wanted < bytes) return fail_memory(error, what);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i < spare_.size(); i++) {
      if (spare_[i].bytes != wanted) continue;
      *out = spare_[i].memory;
      spare_bytes_ -= wanted;
      spare_.erase(spare_.begin() + static_cast<ptrdiff_t>(i));
      return KVFOLD_OK;
    }
  }
  if (kvfold_status status = use(error)) return status;
  cudaError_t code = cudaMalloc(out, wanted);
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    drop_spare();
    code = cudaMalloc(out, wanted);
  }
  return check(code, what, error);
}

void Device::give_back(void *memory, size_t bytes) {
  const size_t size = rounded(bytes);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (spare_bytes_ + size <= kSpareBytes) {
      spare_.push_back({memory, size});
      spare_bytes_ += size;
      return;
    }
  }
  kvfold_error ignored{};
  if (use(&ignored) == KVFOLD_OK) cudaFree(memory);
}

void Device::drop_spare() {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Spare &one : spare_) cudaFree(one.memory);
  spare_.clear();
  spare_bytes_ = 0;
}

kvfold_status wait_too(const Device &device, kvfold_status status, kvfold_error *error) {
  kvfold_error own{};
  kvfold_status waited = device.use(&own);
  if (waited == KVFOLD_OK) waited = device.wait(&own);
  if (status != KVFOLD_OK || waited == KVFOLD_OK) return status;
  if (error != nullptr) *error = own;
  return waited;
}

kvfold_status check_location(const kvfold_memory &memory, kvfold_error *error) {
  return require_location(memory, KVFOLD_LOCATION_CUDA, "cuda", error);
}

const kvfold_device_memory kDeviceMemory = {KVFOLD_LOCATION_CUDA, count_devices, describe, allocate, release, copy};

}  // namespace cuda
}  // namespace kvfold

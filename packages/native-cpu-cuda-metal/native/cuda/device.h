// Devices: one stream each, memory that is handed out and kept for the next fold, and errors as statuses.
#ifndef KVFOLD_CUDA_DEVICE_H
#define KVFOLD_CUDA_DEVICE_H

#include <cstddef>
#include <mutex>
#include <vector>

#include "common/error.h"
#include "cuda/runtime.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace cuda {

constexpr uint32_t kMaxDevices = 64;

/// KVFOLD_OK, or the error of CUDA as a sentence that starts with `what`.
kvfold_status check(cudaError_t code, const char *what, kvfold_error *error);

class Device {
 public:
  /// The device of that number with its stream, made when it is first asked for, and current for this thread.
  static kvfold_status open(uint32_t ordinal, Device **out, kvfold_error *error);

  uint32_t ordinal() const { return ordinal_; }
  cudaStream_t stream() const { return stream_; }
  /// Makes the device current for this thread.
  kvfold_status use(kvfold_error *error) const;
  kvfold_status wait(kvfold_error *error) const;
  kvfold_status upload(void *to, const void *from, size_t bytes, kvfold_error *error) const;
  /// Waits, so that `to` can be read afterwards.
  kvfold_status download(void *to, const void *from, size_t bytes, kvfold_error *error) const;

  kvfold_status take(size_t bytes, const char *what, void **out, kvfold_error *error);
  void give_back(void *memory, size_t bytes);

 private:
  struct Spare {
    void *memory;
    size_t bytes;
  };
  void drop_spare();

  uint32_t ordinal_ = 0;
  cudaStream_t stream_ = nullptr;
  std::mutex mutex_;
  std::vector<Spare> spare_;
  size_t spare_bytes_ = 0;
};

/// Memory of a device that goes back when its owner goes.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { release(); }

  kvfold_status allocate(Device *device, size_t count, const char *what, kvfold_error *error) {
    release();
    if (count > SIZE_MAX / sizeof(T)) return fail_memory(error, what);
    void *memory = nullptr;
    if (kvfold_status status = device->take(count * sizeof(T), what, &memory, error)) return status;
    device_ = device;
    data_ = static_cast<T *>(memory);
    count_ = count;
    return KVFOLD_OK;
  }
  /// Room for at least `count`; what was there may be gone.
  kvfold_status reserve(Device *device, size_t count, const char *what, kvfold_error *error) {
    if (device_ == device && count_ >= count) return KVFOLD_OK;
    return allocate(device, count, what, error);
  }
  /// Allocates and fills; `from` may be given back as soon as the stream has been waited for.
  kvfold_status upload(Device *device, const T *from, size_t count, const char *what, kvfold_error *error) {
    if (kvfold_status status = allocate(device, count, what, error)) return status;
    return device->upload(data_, from, count * sizeof(T), error);
  }
  void release() {
    if (device_ != nullptr) device_->give_back(data_, count_ * sizeof(T));
    device_ = nullptr;
    data_ = nullptr;
    count_ = 0;
  }
  T *data() const { return data_; }
  size_t size() const { return count_; }

 private:
  Device *device_ = nullptr;
  T *data_ = nullptr;
  size_t count_ = 0;
};

/// Waits for a device also after an error, so that nothing is under way when a call returns; the first error stays.
kvfold_status wait_too(const Device &device, kvfold_status status, kvfold_error *error);

/// The device of every layer of a memory; KVFOLD_STATUS_UNSUPPORTED when one lies somewhere else.
kvfold_status check_location(const kvfold_memory &memory, kvfold_error *error);

/// What the table says of devices (kvfold/backend.h).
extern const kvfold_device_memory kDeviceMemory;

}  // namespace cuda
}  // namespace kvfold

#endif

// The GPU as the other files of this backend see it: buffers, and work that is gathered, run and waited for. All of the
// Objective-C is in device.mm.
#ifndef KVFOLD_METAL_DEVICE_H
#define KVFOLD_METAL_DEVICE_H

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "kvfold/fold.h"
#include "metal/layout.h"

namespace kvfold {
namespace metal {

/// The text of the kernels (layout.h and *.metal), put together by kernel_text.cmake.
extern const char *const kKernelText;

/// Whether there is a device with the memory of the CPU, and the kernels compile; tried once for the process.
kvfold_status check_device(kvfold_error *error);

/// Memory that CPU and GPU share.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  ~Buffer() { free(); }

  /// Not cleared. False when the device does not give that much; of 0 bytes, a small buffer, since kernels bind it.
  bool allocate(uint64_t bytes);
  template <typename T>
  bool assign(const T *data, uint64_t count) {
    return copy(data, count * sizeof(T));  // lengths of checked arrays
  }
  /// The caller's memory itself, by the whole pages around it. False when the device refuses the range: Metal takes
  /// pages of one mapping, and of bounded size.
  bool wrap(void *data, uint64_t bytes);
  void free();

  template <typename T>
  T *as() const {
    return reinterpret_cast<T *>(data_);
  }
  uint64_t bytes() const { return bytes_; }
  /// Bytes of the Metal buffer before the data: less than a page.
  uint32_t base() const { return base_; }

 private:
  friend class Work;
  bool copy(const void *data, uint64_t bytes);

  void *object_ = nullptr;  // id<MTLBuffer>, retained
  uint8_t *data_ = nullptr;
  uint64_t bytes_ = 0;
  uint32_t base_ = 0;
};

/// A buffer for a kernel, from a multiple of 4 bytes on.
struct Bound {
  Bound(const Buffer &of) : buffer(of), offset(0) {}
  Bound(const Buffer &of, uint64_t from) : buffer(of), offset(from) {}
  const Buffer &buffer;
  uint64_t offset;
};

/// Kernels that run one after another, each seeing what those before it wrote. Buffers live until they have run, even
/// if their owners let go of them. Problems while gathering are told by finish.
class Work {
 public:
  Work() = default;
  Work(const Work &) = delete;
  Work &operator=(const Work &) = delete;
  ~Work() { drop(); }

  /// Parameters are bound at index 0, `buffers` from 1 on. No threads: nothing is added.
  template <typename Parameters>
  void run(const char *kernel, Parameters parameters, uint64_t threads, std::initializer_list<Bound> buffers) {
    parameters.threads = static_cast<uint32_t>(threads);
    add(kernel, &parameters, sizeof parameters, threads, buffers);
  }

  /// Runs what was gathered and waits for it; then more can be gathered.
  kvfold_status finish(kvfold_error *error);

 private:
  void add(const char *kernel, const void *parameters, size_t bytes, uint64_t threads,
           std::initializer_list<Bound> buffers);
  bool begin();
  void drop();

  void *command_ = nullptr;  // id<MTLCommandBuffer>, retained
  void *encoder_ = nullptr;  // id<MTLComputeCommandEncoder>, retained
  const char *unknown_ = nullptr;   // a kernel that could not be made
  const char *too_many_ = nullptr;  // a kernel with more than 2^32 threads
  bool failed_ = false;             // the device gave no command buffer
};

}  // namespace metal
}  // namespace kvfold

#endif

// Backend instances of our own, beside those that llama.cpp decodes with, on the same memory.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ggml-alloc.h"
#include "ggml-backend.h"

namespace kvfold {

struct FreeAllocator {
  void operator()(ggml_gallocr_t allocator) const { ggml_gallocr_free(allocator); }
};
using Allocator = std::unique_ptr<ggml_gallocr, FreeAllocator>;

// Scratch memory of graphs. What a graph made stays until the next graph with the same scratch.
class Scratch {
 public:
  explicit Scratch(ggml_backend_buffer_type_t memory) : memory_(memory) {}
  // Gives the tensors of a graph their memory; false when the device has none. What was too small is kept: descriptors
  // of an instance may still name it, and not every driver leaves those alone that a kernel does not use.
  bool allocate(ggml_cgraph *graph);

 private:
  ggml_backend_buffer_type_t memory_;
  std::vector<Allocator> allocators_;  // the last one is in use
};

// A backend instance, for one fold or one read. Used by one call at a time.
class Device {
 public:
  // @throws KVFOLD_UNSUPPORTED when the device gives no second instance
  Device(ggml_backend_dev_t device, int threads);
  ~Device();
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  ggml_backend_t backend() const { return backend_; }
  // Of the memory that the device computes in.
  ggml_backend_buffer_type_t memory() const { return ggml_backend_get_default_buffer_type(backend_); }
  // Bytes that are free, as the device tells.
  size_t free_bytes() const;
  std::string name() const { return ggml_backend_name(backend_); }

  // For graphs that read the cache, and for those that write what was read.
  Scratch &reading() { return *reading_; }
  Scratch &writing() { return *writing_; }

 private:
  ggml_backend_t backend_;
  std::unique_ptr<Scratch> reading_, writing_;
};

// The device that reaches the memory of a tensor. @throws KVFOLD_UNSUPPORTED when none does
ggml_backend_dev_t device_of(const ggml_tensor *tensor);

// Why no executor can reach the memory of a tensor, or "".
std::string unreachable(const ggml_tensor *tensor);

// The instances of one fold, each made on first use.
class Devices {
 public:
  explicit Devices(int threads) : threads_(threads) {}
  Device &of(const ggml_tensor *tensor);

 private:
  int threads_;
  std::map<ggml_backend_dev_t, std::unique_ptr<Device>> made_;
};

}  // namespace kvfold

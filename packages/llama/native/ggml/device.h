// Backend instances of our own, one a device: beside those that llama.cpp decodes with, on the same memory.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "ggml-backend.h"

namespace kvfold {

// One backend instance. Used by one call at a time.
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

 private:
  ggml_backend_t backend_;
};

// The device that reaches the memory of a tensor. @throws KVFOLD_UNSUPPORTED when none does
ggml_backend_dev_t device_of(const ggml_tensor *tensor);

// Why no executor can reach the memory of a tensor, or "".
std::string unreachable(const ggml_tensor *tensor);

// Instances, each made on first use.
class Devices {
 public:
  explicit Devices(int threads) : threads_(threads) {}
  Device &of(const ggml_tensor *tensor) { return at(device_of(tensor)); }
  Device &at(ggml_backend_dev_t device);

 private:
  int threads_;
  std::map<ggml_backend_dev_t, std::unique_ptr<Device>> made_;
};

}  // namespace kvfold

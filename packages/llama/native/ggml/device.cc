// See device.h.
#include "device.h"

#include "failure.h"
#include "ggml-cpu.h"
#include "ggml.h"

namespace kvfold {

namespace {

ggml_backend_dev_t processor() {
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (device == nullptr) throw Failure("KVFOLD_UNSUPPORTED", "no processor backend of llama.cpp is loaded");
  return device;
}

// The processor backend takes 4 threads by default, and they spin.
void set_threads(ggml_backend_t backend, int threads) {
  ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
  void *address = ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads");
  if (address != nullptr) reinterpret_cast<ggml_backend_set_n_threads_t>(address)(backend, threads);
}

}  // namespace

Device::Device(ggml_backend_dev_t device, int threads) : backend_(ggml_backend_dev_init(device, nullptr)) {
  if (backend_ == nullptr)
    throw Failure("KVFOLD_UNSUPPORTED", std::string(ggml_backend_dev_name(device)) + " gives no second instance");
  set_threads(backend_, threads);
  reading_ = std::make_unique<Scratch>(memory());
  writing_ = std::make_unique<Scratch>(memory());
}

Device::~Device() {
  reading_.reset();
  writing_.reset();
  ggml_backend_free(backend_);
}

bool Scratch::allocate(ggml_cgraph *graph) {
  size_t needed = 0;
  if (!allocators_.empty()) ggml_gallocr_reserve_n_size(allocators_.back().get(), graph, nullptr, nullptr, &needed);
  if (allocators_.empty() || needed > ggml_gallocr_get_buffer_size(allocators_.back().get(), 0))
    allocators_.emplace_back(ggml_gallocr_new(memory_));
  return ggml_gallocr_alloc_graph(allocators_.back().get(), graph);
}

size_t Device::free_bytes() const {
  size_t free = 0, total = 0;
  ggml_backend_dev_memory(ggml_backend_get_device(backend_), &free, &total);
  return free;
}

std::string unreachable(const ggml_tensor *tensor) {
  if (tensor == nullptr || tensor->buffer == nullptr) return "it has no memory";
  if (ggml_backend_buffer_is_host(tensor->buffer)) return "";
  ggml_backend_buffer_type_t type = ggml_backend_buffer_get_type(tensor->buffer);
  ggml_backend_dev_t device = ggml_backend_buft_get_device(type);
  const std::string memory = std::string("its memory (") + ggml_backend_buft_name(type) + ") ";
  if (device == nullptr) return memory + "belongs to no device";
  // memory that is spread over devices has a type of its own, whose tensors have no address
  if (type != ggml_backend_dev_buffer_type(device)) return memory + "is not the plain memory of its device";
  return "";
}

ggml_backend_dev_t device_of(const ggml_tensor *tensor) {
  const std::string problem = unreachable(tensor);
  if (!problem.empty()) throw Failure("KVFOLD_UNSUPPORTED", problem);
  if (ggml_backend_buffer_is_host(tensor->buffer)) return processor();
  return ggml_backend_buft_get_device(ggml_backend_buffer_get_type(tensor->buffer));
}

Device &Devices::of(const ggml_tensor *tensor) {
  ggml_backend_dev_t device = device_of(tensor);
  auto &made = made_[device];
  if (made == nullptr) made = std::make_unique<Device>(device, threads_);
  return *made;
}

}  // namespace kvfold

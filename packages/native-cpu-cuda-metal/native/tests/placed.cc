// Copies between the buffers of a case and the memory of a backend.
#include "placed.h"

#include <cstdio>
#include <cstdlib>

namespace cases {
namespace {

void need(kvfold_status status, const kvfold_error &error) {
  if (status == KVFOLD_OK) return;
  std::printf("a case cannot be placed on its device: %s\n", error.message);
  std::exit(1);
}

}  // namespace

Placed::Placed(const Case &one, const kvfold_backend *backend)
    : one_(const_cast<Case &>(one)), device_(backend->device) {
  if (device_ == nullptr) return;
  kvfold_error error{};
  uint32_t devices = 0;
  need(device_->count(&devices, &error), error);
  for (uint32_t i = 0; i < one_.buffers.size(); i++) {
    std::vector<uint8_t> &bytes = one_.buffers[i].bytes;
    Copy copy = {i / 2 % devices, nullptr};
    need(device_->allocate(copy.device, bytes.size(), &copy.memory, &error), error);
    need(device_->copy(copy.device, copy.memory, bytes.data(), bytes.size(), KVFOLD_COPY_IN, &error), error);
    copies_.push_back(copy);
    kvfold_memory_layer &layer = one_.layers[i / 2];
    void *data = static_cast<uint8_t *>(copy.memory) + kGuardBytes;
    (i % 2 == 0 ? layer.keys : layer.values) = data;
    layer.location = device_->location;
    layer.device = copy.device;
  }
}

Placed::~Placed() {
  for (const Copy &copy : copies_) device_->release(copy.device, copy.memory);
  if (copies_.empty()) return;
  for (kvfold_memory_layer &layer : one_.layers) layer.location = KVFOLD_LOCATION_HOST;
  for (kvfold_memory_layer &layer : one_.layers) layer.device = 0;
  one_.bind();
}

void Placed::fetch() {
  kvfold_error error{};
  for (size_t i = 0; i < copies_.size(); i++) {
    std::vector<uint8_t> &bytes = one_.buffers[i].bytes;
    need(device_->copy(copies_[i].device, bytes.data(), copies_[i].memory, bytes.size(), KVFOLD_COPY_OUT, &error),
         error);
  }
}

}  // namespace cases

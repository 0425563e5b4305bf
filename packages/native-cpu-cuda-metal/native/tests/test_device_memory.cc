// Devices at their limits, over the emulator: out of memory is a status, whichever allocation fails, and nothing changes.
// Run with KVFOLD_CUDA_PATH naming the emulated backend; says so and passes nothing otherwise.
#include <cstdlib>
#include <string>

#include "cases.h"
#include "check.h"
#include "placed.h"

namespace {

/// Grows the memory step by step until a fold with a fit goes through; returns how often it did not. Memory that earlier
/// cases gave back may be enough for a small one.
uint32_t check_memory(uint32_t seed, const kvfold_backend *backend) {
  const auto one = cases::random_case(seed), before = cases::random_case(seed);
  cases::add_fit(one.get(), seed);
  cases::Placed placed(*one, backend);
  const kvfold_options options{1, nullptr, nullptr, nullptr, 0};
  uint32_t refused = 0;
  for (size_t bytes = 4096; bytes < size_t{1} << 32; bytes += bytes / 8) {
    setenv("KVFOLD_EMULATED_BYTES", std::to_string(bytes).c_str(), 1);
    kvfold_error error{};
    kvfold_fold *fold = nullptr;
    const kvfold_status status = backend->fold_prepare(&one->target, &one->plan, &options, &fold, &error);
    if (status == KVFOLD_OK) {
      CHECK(backend->fold_commit(fold, &options, &error) == KVFOLD_OK);
      CHECK(backend->fold_rollback(fold, &options, &error) == KVFOLD_OK);
      backend->fold_free(fold);
      break;
    }
    refused++;
    CHECK_MESSAGE(status == KVFOLD_STATUS_NATIVE, error.message);
    CHECK_MESSAGE(std::string(error.message).find("out of memory") != std::string::npos, error.message);
    CHECK(fold == nullptr);
  }
  unsetenv("KVFOLD_EMULATED_BYTES");
  placed.fetch();
  CHECK_MESSAGE(one->same_bytes(before->buffers) && one->guards_hold(), one->name.c_str());
  return refused;
}

void check_devices(const kvfold_backend *backend) {
  const kvfold_device_memory &device = *backend->device;
  uint32_t count = 0;
  kvfold_error error{};
  CHECK(device.count(&count, &error) == KVFOLD_OK && count == 2);
  void *memory = nullptr;
  CHECK(device.allocate(count, 16, &memory, &error) == KVFOLD_STATUS_UNSUPPORTED && memory == nullptr);
  auto one = cases::random_case(1);
  {
    cases::Placed placed(*one, backend);
    one->layers[0].device = 63;
    kvfold_fold *fold = nullptr;
    const kvfold_options options{1, nullptr, nullptr, nullptr, 0};
    CHECK(backend->fold_prepare(&one->target, &one->plan, &options, &fold, &error) == KVFOLD_STATUS_UNSUPPORTED);
    one->layers[0].device = 0;
  }
  kvfold_memory_layer layer = one->layers[0];
  layer.key_type = KVFOLD_F16;
  layer.hadamard_key = layer.rope_pairing = layer.rope_dims = 0;
  for (uint32_t dim : {8u, 80u, 512u}) {
    layer.key_dim = dim;
    CHECK_MESSAGE(backend->supports(&layer, &error) == KVFOLD_OK, error.message);
  }
  for (uint32_t dim : {4u, 100u, 520u}) {
    layer.key_dim = dim;
    CHECK(backend->supports(&layer, &error) == KVFOLD_STATUS_UNSUPPORTED);
  }
}

}  // namespace

int main() {
  const kvfold_backend *backend = kvfold_backend_named("cuda");
  if (backend == nullptr || std::string(kvfold_cuda_state()).find("emulated") == std::string::npos) {
    std::printf("no emulated device: %s\n", kvfold_cuda_state());
    return 1;
  }
  check_devices(backend);
  uint32_t refused = 0;
  for (uint32_t seed = 1; seed <= 6; seed++) refused += check_memory(seed, backend);
  CHECK(refused > 20);
  return check::verdict("device memory");
}

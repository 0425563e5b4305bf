// Memory of another kind is refused by every operation of every backend, with a sentence, and nothing is touched.
#include <cstring>

#include "cases.h"
#include "check.h"
#include "placed.h"

using cases::Case;

namespace {

bool refused(kvfold_status status, const kvfold_error &error) {
  return status == KVFOLD_STATUS_UNSUPPORTED && std::strstr(error.message, "memory") != nullptr;
}

void refuse(const Case &one, const kvfold_backend *backend) {
  const kvfold_options options{1, nullptr, nullptr, nullptr, 0};
  kvfold_error error{};
  kvfold_fold *fold = nullptr;
  CHECK_MESSAGE(refused(backend->fold_prepare(&one.target, &one.plan, &options, &fold, &error), error), error.message);
  CHECK(fold == nullptr);
  kvfold_read read{};
  read.memory = &one.memory;
  read.slots = one.target.slots;
  read.positions = one.target.positions;
  const size_t heads = one.layers[0].kv_heads, cells = one.slots.size();
  std::vector<float> out(3 * heads * cells * one.layers[0].key_dim);
  CHECK_MESSAGE(refused(backend->read_rows(&read, &options, out.data(), &error), error), error.message);
  CHECK_MESSAGE(refused(backend->key_stats(&read, &options, out.data(), out.data() + heads * cells, &error), error),
                error.message);
  const std::vector<float> queries(heads * one.layers[0].key_dim, 0.5f);
  const kvfold_attention attention{&one.memory, 0, one.target.slots, 1, {queries.data(), queries.size()}, {nullptr, 0}};
  kvfold_attention_result result{out.data(), out.data() + heads * cells, out.data() + 2 * heads * cells, nullptr, 0};
  CHECK_MESSAGE(refused(backend->attend(&attention, &options, &result, &error), error), error.message);
  const std::vector<int32_t> deltas(cells, 3);
  const kvfold_rope rope{&one.memory, one.target.slots, {deltas.data(), cells}, nullptr};
  if (!CHECK(backend->rope_prepare != nullptr)) return;
  CHECK_MESSAGE(refused(backend->rope_prepare(&rope, &options, &fold, &error), error), error.message);
  CHECK(fold == nullptr);
}

}  // namespace

int main() {
  for (uint32_t seed = 1; seed <= 20; seed++) {
    const auto one = cases::random_case(seed), before = cases::random_case(seed);
    for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
      const bool on_device = backend->device != nullptr;
      if (!on_device) one->layers.back().location = KVFOLD_LOCATION_CUDA;  // one layer is enough
      refuse(*one, backend);
      one->layers.back().location = KVFOLD_LOCATION_HOST;
      CHECK(one->same_bytes(before->buffers));
    }
  }
  return check::verdict("location");
}

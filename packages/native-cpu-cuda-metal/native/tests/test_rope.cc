// The rope shift: every backend against the double reference; the same bits for any number of threads and with every
// instruction set that runs here; nothing else is touched; undone from every point; refusals at the border.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "bounds.h"
#include "cases.h"
#include "check.h"
#include "common/turned.h"
#include "cpu/arch/arch.h"
#include "placed.h"
#include "reference/convert.h"
#include "reference/rows.h"

using cases::Case;
using kvfold::Tensor;

namespace {

/// A shift of a random memory: by cell, and in some layers by head and cell; some deltas are 0.
struct Shift {
  std::unique_ptr<Case> memory;
  std::vector<int32_t> deltas;
  std::vector<std::vector<int32_t>> own;
  std::vector<kvfold_i32_span> spans;
  kvfold_rope rope{};

  explicit Shift(uint32_t seed) : memory(cases::random_case(seed)) {
    cases::Random random(seed);
    const size_t cells = memory->slots.size();
    const auto delta = [&] {
      return random.below(4) == 0 ? 0 : static_cast<int32_t>(random.below(4001)) - 2000;
    };
    for (size_t c = 0; c < cells; c++) deltas.push_back(delta());
    own.resize(memory->layers.size());
    for (size_t l = 0; l < own.size(); l++) {
      if (random.coin()) continue;
      for (size_t i = 0; i < memory->layers[l].kv_heads * cells; i++) own[l].push_back(delta());
    }
    bind();
  }
  void bind() {
    spans.clear();
    for (const std::vector<int32_t> &layer : own) spans.push_back({layer.data(), layer.size()});
    const kvfold_u32_span slots = {memory->slots.data(), memory->slots.size()};
    rope = {&memory->memory, slots, {deltas.data(), deltas.size()}, spans.data()};
  }
};

bool apply(const Shift &shift, const kvfold_backend *backend, uint32_t threads) {
  const kvfold_options options{threads, nullptr, nullptr, nullptr, 0};
  kvfold_error error{};
  kvfold_fold *fold = nullptr;
  cases::Placed placed(*shift.memory, backend);
  bool ok = CHECK_MESSAGE(kvfold_check_rope(&shift.rope, &error) == KVFOLD_OK, error.message) &&
            CHECK_MESSAGE(backend->rope_prepare(&shift.rope, &options, &fold, &error) == KVFOLD_OK, error.message);
  if (!ok) return false;
  ok = CHECK_MESSAGE(backend->fold_commit(fold, &options, &error) == KVFOLD_OK, error.message);
  backend->fold_free(fold);
  placed.fetch();
  return ok;
}

std::vector<uint8_t> slice_of(const Tensor &tensor, size_t slot, size_t head) {
  std::vector<uint8_t> bytes(tensor.slice_bytes);
  kvfold::reference::load_slice(tensor, slot, head, bytes.data());
  return bytes;
}

double largest_of(const std::vector<double> &values, size_t j) {
  double largest = 0;
  for (size_t k = j / 32 * 32; k < std::min(values.size(), j / 32 * 32 + 32); k++)
    largest = std::max(largest, std::fabs(values[k]));
  return largest;
}

/// Turned keys within the bound; values, free cells, keys that do not turn and channels beyond byte for byte.
void compare(const Shift &got, const Shift &want, const Case &before) {
  const Case &one = *got.memory;
  for (uint32_t l = 0; l < one.memory.layer_count; l++) {
    CHECK_MESSAGE(one.buffers[2 * l + 1].bytes == before.buffers[2 * l + 1].bytes, one.name.c_str());
    const kvfold_memory_layer &layer = one.layers[l];
    const Tensor a = kvfold::tensor_of(one.memory, l, KVFOLD_KEYS);
    const Tensor b = kvfold::tensor_of(want.memory->memory, l, KVFOLD_KEYS);
    const Tensor old = kvfold::tensor_of(before.memory, l, KVFOLD_KEYS);
    const size_t channels = kvfold::turned_channels(layer);
    const kvfold::TypeSize size = kvfold::type_size(layer.key_type);
    std::vector<bool> moved(one.memory.capacity * size_t{layer.kv_heads}, false);
    for (size_t c = 0; c < one.slots.size(); c++) {
      for (uint32_t head = 0; head < layer.kv_heads; head++)
        moved[one.slots[c] * size_t{layer.kv_heads} + head] =
            channels != 0 && kvfold::delta_of(got.rope, l, head, c) != 0;
    }
    for (uint32_t slot = 0; slot < one.memory.capacity; slot++) {
      for (uint32_t head = 0; head < layer.kv_heads; head++) {
        const std::vector<uint8_t> raw = slice_of(a, slot, head), was = slice_of(old, slot, head);
        const size_t kept = moved[slot * size_t{layer.kv_heads} + head] ? channels / size.channels * size.bytes : 0;
        CHECK_MESSAGE(std::equal(raw.begin() + kept, raw.end(), was.begin() + kept), one.name.c_str());
        if (kept == 0) continue;
        const std::vector<double> x = kvfold::reference::decode(a, raw.data());
        const std::vector<double> y = kvfold::reference::decode(b, slice_of(b, slot, head).data());
        const double slack = bounds::arithmetic(1, 4, true, layer.hadamard_key);
        bool within = true;
        for (size_t j = 0; j < x.size(); j++)
          within = within && std::fabs(x[j] - y[j]) <= 2 * (bounds::store(a.type, y[j], largest_of(y, j)) + slack);
        CHECK_MESSAGE(within, one.name.c_str());
      }
    }
  }
}

/// There and back again: a shift by delta and one by -delta, in a type that hardly rounds.
void there_and_back(uint32_t seed, const kvfold_backend *backend) {
  Shift shift(seed);
  const std::vector<cases::Buffer> before = shift.memory->snapshot();
  if (!apply(shift, backend, 2)) return;
  for (int32_t &delta : shift.deltas) delta = -delta;
  for (std::vector<int32_t> &layer : shift.own) {
    for (int32_t &delta : layer) delta = -delta;
  }
  if (!apply(shift, backend, 2)) return;
  for (uint32_t l = 0; l < shift.memory->memory.layer_count; l++) {
    if (shift.memory->layers[l].key_type != KVFOLD_F32) continue;
    const std::vector<uint8_t> &a = shift.memory->buffers[2 * l].bytes, &b = before[2 * l].bytes;
    const double slack = 4 * bounds::arithmetic(1, 4, true, shift.memory->layers[l].hadamard_key);
    bool within = true;
    for (size_t i = cases::kGuardBytes; i + cases::kGuardBytes < a.size(); i += 4) {
      float x = 0, y = 0;
      std::memcpy(&x, a.data() + i, 4);
      std::memcpy(&y, b.data() + i, 4);
      within = within && (!(std::fabs(x - y) > slack));
    }
    CHECK_MESSAGE(within, shift.memory->name.c_str());
  }
}

void run_case(uint32_t seed, uint32_t *turned) {
  const kvfold_backend *oracle = kvfold_backend_named("reference");
  const auto before = cases::random_case(seed);
  Shift want(seed);
  if (!apply(want, oracle, 1)) return;
  *turned += want.memory->same_bytes(before->buffers) ? 0 : 1;
  for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
    if (backend == oracle || backend->rope_prepare == nullptr) continue;
    std::unique_ptr<Shift> first;
    for (size_t k = 0; const kvfold::cpu::Kernels *kernels = kvfold::cpu::kernels_at(k); k++) {
      if (k > 0 && backend->device != nullptr) break;
      kvfold::cpu::use_kernels(*kernels);
      for (uint32_t threads : {1, 2, 3, 7}) {
        if (threads > 1 && backend->device != nullptr) break;
        auto got = std::make_unique<Shift>(seed);
        if (!apply(*got, backend, threads)) return;
        CHECK_MESSAGE(got->memory->guards_hold(), got->memory->name.c_str());
        if (first != nullptr) {
          CHECK_MESSAGE(got->memory->same_bytes(first->memory->buffers), "other bits");
          continue;
        }
        compare(*got, want, *before);
        first = std::move(got);
      }
    }
    there_and_back(seed, backend);
  }
}

int cancel_after(void *left) { return static_cast<std::atomic<int> *>(left)->fetch_sub(1) <= 0; }

/// A commit stopped at every point and rolled back leaves every byte, and so does a prepare.
void walk(uint32_t seed, const kvfold_backend *backend) {
  Shift shift(seed);
  const std::vector<cases::Buffer> before = shift.memory->snapshot();
  cases::Placed placed(*shift.memory, backend);
  kvfold_faults faults{-1, 0};
  kvfold_options plain{3, nullptr, nullptr, nullptr, 0}, counted{3, nullptr, nullptr, &faults, 0};
  kvfold_error error{};
  kvfold_fold *fold = nullptr;
  for (int64_t point = 0;; point++) {
    if (!CHECK(backend->rope_prepare(&shift.rope, &plain, &fold, &error) == KVFOLD_OK)) return;
    faults = {point, 0};
    const kvfold_status status = backend->fold_commit(fold, &counted, &error);
    for (int twice = 0; twice < 2; twice++) {
      CHECK(backend->fold_rollback(fold, &plain, &error) == KVFOLD_OK);
      placed.fetch();
      CHECK_MESSAGE(shift.memory->same_bytes(before), shift.memory->name.c_str());
    }
    backend->fold_free(fold);
    if (status == KVFOLD_OK) break;
    if (!CHECK(status == KVFOLD_STATUS_FAULT)) return;
  }
  for (int64_t point = 0; point < shift.memory->memory.layer_count; point++) {
    faults = {point, 0};
    CHECK(backend->rope_prepare(&shift.rope, &counted, &fold, &error) == KVFOLD_STATUS_FAULT && fold == nullptr);
  }
  for (int polls = 0; polls < 4; polls++) {
    std::atomic<int> left{polls};
    const kvfold_options cancelled{3, cancel_after, &left, nullptr, 0};
    const kvfold_status status = backend->rope_prepare(&shift.rope, &cancelled, &fold, &error);
    CHECK(status == KVFOLD_STATUS_ABORTED || (polls > 0 && status == KVFOLD_OK));
    if (fold != nullptr) backend->fold_free(fold);
  }
  placed.fetch();
  CHECK_MESSAGE(shift.memory->same_bytes(before), shift.memory->name.c_str());
}

template <typename Spoil>
void refuse(kvfold_status expected, const Spoil &spoil) {
  for (uint32_t seed = 60; seed < 70; seed++) {
    Shift shift(seed);
    kvfold_error error{};
    CHECK_MESSAGE(kvfold_check_rope(&shift.rope, &error) == KVFOLD_OK, error.message);
    spoil(&shift);
    CHECK(kvfold_check_rope(&shift.rope, &error) == expected);
    CHECK(error.message[0] != '\0');
  }
}

void border() {
  kvfold_error error{};
  CHECK(kvfold_check_rope(nullptr, &error) == KVFOLD_STATUS_ARGUMENT);
  const kvfold_status argument = KVFOLD_STATUS_ARGUMENT;
  refuse(argument, [](Shift *s) { s->rope.memory = nullptr; });
  refuse(argument, [](Shift *s) { s->rope.slots.data = nullptr; });
  refuse(argument, [](Shift *s) { s->rope.deltas.data = nullptr; });
  refuse(argument, [](Shift *s) { s->rope.deltas.length++; });
  refuse(argument, [](Shift *s) { s->rope.slots.length = UINT64_MAX; });
  refuse(argument, [](Shift *s) { s->memory->slots[0] = s->memory->memory.capacity; });
  refuse(argument, [](Shift *s) { s->spans[0] = {s->deltas.data(), UINT64_MAX}; });
  refuse(argument, [](Shift *s) { s->spans[0] = {nullptr, s->memory->layers[0].kv_heads * s->memory->slots.size()}; });
  refuse(KVFOLD_STATUS_DISPOSED, [](Shift *s) { s->memory->memory.alive = 0; });
  Shift twice(61);
  twice.memory->slots.push_back(twice.memory->slots[0]);
  twice.deltas.push_back(1);
  twice.own.assign(twice.own.size(), {});
  twice.memory->memory.capacity += 1;  // room for one more in the count; the buffers are too small then
  twice.bind();
  CHECK(kvfold_check_rope(&twice.rope, &error) == argument);
}

}  // namespace

int main(int count, char **arguments) {
  const uint32_t runs = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 300;
  const uint32_t first = check::first_seed();
  uint32_t turned = 0;
  for (uint32_t seed = first + 1; seed <= first + runs && check::failed == 0; seed++) run_case(seed, &turned);
  CHECK(turned > runs / 2);
  for (uint32_t seed = 3000; seed < 3000 + std::min(runs, 40u); seed++) {
    for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
      if (backend->rope_prepare != nullptr) walk(seed, backend);
    }
  }
  border();
  return check::verdict("rope");
}

// Every backend against the double reference on random cases; the same bits for any number of threads and with every
// instruction set that runs here; guard bytes.
#include <cmath>
#include <cstdlib>

#include "bounds.h"
#include "cases.h"
#include "check.h"
#include "common/tensor.h"
#include "compare.h"
#include "cpu/arch/arch.h"
#include "placed.h"
#include "reference/rows.h"

using cases::Case;
using cases::compare;
using cases::fold;
using kvfold::Tensor;

namespace {

kvfold_options options_of(uint32_t threads) { return {threads, nullptr, nullptr, nullptr, 0}; }

/// Rows of a shared plan that only keep a cell hold its bytes.
void check_kept_rows(const Case &after, const Case &before) {
  const kvfold_plan &plan = after.plan;
  if (plan.layout != KVFOLD_SHARED || plan.key_frame != KVFOLD_FRAME_STORED) return;
  for (uint32_t row = 0; row < plan.rows; row++) {
    const uint32_t m = after.offsets[row];
    if (after.offsets[row + 1] != m + 1) continue;
    for (uint32_t i = 0; i < after.buffers.size(); i++) {
      const Tensor is = kvfold::tensor_of(after.memory, i / 2, i % 2);
      const Tensor was = kvfold::tensor_of(before.memory, i / 2, i % 2);
      const kvfold_weights &weights = i % 2 == 0 ? plan.key_weights : plan.value_weights;
      const size_t heads = kvfold::most_heads(after.memory);
      for (uint32_t head = 0; head < is.heads; head++) {
        if (kvfold::weight_of(weights, after.members.size(), heads, i / 2, head, m) != 1.0f) continue;
        std::vector<uint8_t> a(is.slice_bytes), b(is.slice_bytes);
        kvfold::reference::load_slice(is, after.destinations[row], head, a.data());
        kvfold::reference::load_slice(was, after.slots[after.members[m]], head, b.data());
        CHECK_MESSAGE(a == b, after.name.c_str());
      }
    }
  }
}

/// Rows and statistics of all keys, layer after layer.
struct Reads {
  std::vector<float> keys, norm, cosine;
  bool operator==(const Reads &other) const {
    return keys == other.keys && norm == other.norm && cosine == other.cosine;
  }
};

Reads read_all(const Case &one, const kvfold_backend *backend, uint32_t threads) {
  const kvfold_options options = options_of(threads);
  Reads reads;
  for (uint32_t l = 0; l < one.memory.layer_count; l++) {
    const kvfold_memory_layer &layer = one.layers[l];
    kvfold_read read{};
    read.memory = &one.memory;
    read.layer = l;
    read.slots = one.target.slots;
    read.positions = one.target.positions;
    read.sources = one.source_spans[l];
    read.unrotate = 1;
    read.undo_hadamard = 1;
    kvfold_error error{};
    CHECK_MESSAGE(kvfold_check_read(&read, &error) == KVFOLD_OK, error.message);
    const size_t keys = reads.keys.size(), heads = layer.kv_heads * one.slots.size(), at = reads.norm.size();
    reads.keys.resize(keys + heads * layer.key_dim);
    reads.norm.resize(at + heads);
    reads.cosine.resize(at + heads);
    const cases::Placed placed(one, backend);
    CHECK(backend->read_rows(&read, &options, reads.keys.data() + keys, &error) == KVFOLD_OK);
    CHECK(backend->key_stats(&read, &options, reads.norm.data() + at, reads.cosine.data() + at, &error) == KVFOLD_OK);
  }
  return reads;
}

void check_reads(const Case &one, const Reads &got, const Reads &want) {
  const size_t cells = one.slots.size();
  size_t key = 0, stat = 0;
  for (const kvfold_memory_layer &layer : one.layers) {
    const double slack = 2 * bounds::arithmetic(1, 4, true, layer.hadamard_key);
    for (const size_t end = key + layer.kv_heads * cells * layer.key_dim; key < end; key++)
      CHECK_MESSAGE(std::fabs(got.keys[key] - want.keys[key]) <= slack, one.name.c_str());
    // squares and sums: dim / 2 + 2 roundoffs; the direction of the mean is as uncertain as its sum over its length,
    // which random unit keys keep near 1 / sqrt(cells)
    const double mean_length = 0.5 / std::sqrt(static_cast<double>(cells));
    const double roundoffs = layer.key_dim / 2 + 8 + (layer.key_dim + 64) / mean_length;
    for (const size_t end = stat + layer.kv_heads * cells; stat < end; stat++) {
      const double norm = want.norm[stat];
      CHECK_MESSAGE(std::fabs(got.norm[stat] - norm) <= std::ldexp(roundoffs * norm, -24), one.name.c_str());
      CHECK_MESSAGE(std::fabs(got.cosine[stat] - want.cosine[stat]) <= std::ldexp(roundoffs, -24) + slack,
                    one.name.c_str());
    }
  }
}

/// What a backend is run with; devices have no threads of ours.
struct Setting {
  const kvfold_backend *backend;
  uint32_t threads;
  const kvfold::cpu::Kernels *kernels;  // of the backend cpu
};

std::vector<Setting> settings() {
  std::vector<Setting> all;
  for (size_t b = 0; const kvfold_backend *backend = kvfold_backend_at(b); b++) {
    if (backend == kvfold_backend_named("reference")) continue;
    const bool cpu = backend == kvfold_backend_named("cpu");
    for (size_t k = 0; const kvfold::cpu::Kernels *kernels = kvfold::cpu::kernels_at(k); k++) {
      for (uint32_t threads : {1, 2, 3, 7}) {
        if (threads == 1 || backend->device == nullptr) all.push_back({backend, threads, kernels});
      }
      if (!cpu) break;
    }
  }
  return all;
}

std::string describe(const Setting &setting, const Case &one) {
  return std::string(setting.backend->name) + " " + setting.kernels->isa + " " + std::to_string(setting.threads) +
         " threads " + one.name;
}

/// The first setting of a backend is compared with the reference, the others with it.
void run_case(uint32_t seed, const std::vector<Setting> &all) {
  const kvfold_backend *oracle = kvfold_backend_named("reference");
  const auto before = cases::random_case(seed), want = cases::random_case(seed);
  if (!fold(*want, oracle, 1)) return;
  check_kept_rows(*want, *before);
  std::unique_ptr<Case> first;
  Reads first_reads;
  for (size_t i = 0; i < all.size(); i++) {
    const Setting &setting = all[i];
    const std::string name = describe(setting, *before);
    kvfold::cpu::use_kernels(*setting.kernels);
    auto got = cases::random_case(seed);
    if (!fold(*got, setting.backend, setting.threads)) return;
    CHECK_MESSAGE(got->guards_hold(), name.c_str());
    Reads reads = read_all(*before, setting.backend, setting.threads);
    if (i > 0 && setting.backend == all[i - 1].backend) {
      CHECK_MESSAGE(got->same_bytes(first->buffers), name.c_str());
      CHECK_MESSAGE(reads == first_reads, name.c_str());
      continue;
    }
    compare(*got, *want, *before);
    check_kept_rows(*got, *before);
    check_reads(*before, reads, read_all(*before, oracle, 1));
    first = std::move(got);
    first_reads = std::move(reads);
  }
}

}  // namespace

int main(int count, char **arguments) {
  const uint32_t runs = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 300;
  const std::vector<Setting> all = settings();
  for (const Setting &setting : all) {
    if (setting.threads != 1) continue;
    if (setting.backend->device != nullptr) std::printf("backends: %s\n", setting.backend->name);
    else std::printf("backends: %s, kernels %s\n", setting.backend->name, setting.kernels->isa);
  }
  const uint32_t first = check::first_seed();
  for (uint32_t seed = first + 1; seed <= first + runs && check::failed == 0; seed++) run_case(seed, all);
  return check::verdict("backends");
}

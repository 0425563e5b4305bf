// A cache of random numbers in device memory, and the arrays of a plan over it. What the benchmark folds.
#ifndef KVFOLD_CUDA_BENCH_CACHE_H
#define KVFOLD_CUDA_BENCH_CACHE_H

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "common/tensor.h"
#include "cuda/device.h"

namespace kvfold {
namespace cuda {
namespace bench {

inline void need(kvfold_status status, const kvfold_error &error) {
  if (status == KVFOLD_OK) return;
  std::printf("benchmark: %s\n", error.message);
  std::exit(1);
}

struct CacheShape {
  uint32_t layers, heads, dim, cells;
  int32_t type;
  bool transposed;
};

class Cache {
 public:
  explicit Cache(const CacheShape &shape) : shape_(shape), frequencies_(shape.dim / 2) {
    for (size_t i = 0; i < frequencies_.size(); i++)
      frequencies_[i] = std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(frequencies_.size()));
    layers_.resize(shape.layers);
    for (kvfold_memory_layer &layer : layers_) {
      layer.kv_heads = shape.heads;
      layer.key_dim = layer.value_dim = shape.dim;
      layer.key_type = layer.value_type = shape.type;
      layer.value_transposed = shape.transposed ? 1 : 0;
      layer.rope_pairing = KVFOLD_ROPE_HALF;
      layer.rope_dims = shape.dim;
      layer.rope_frequencies = frequencies_.data();
      layer.location = KVFOLD_LOCATION_CUDA;
    }
    memory_ = {KVFOLD_MEMORY_ABI, sizeof(kvfold_memory), sizeof(kvfold_memory_layer), shape.layers, shape.cells, 1,
               layers_.data()};
    fill();
  }
  ~Cache() {
    for (kvfold_memory_layer &layer : layers_) {
      kDeviceMemory.release(0, layer.keys);
      kDeviceMemory.release(0, layer.values);
    }
  }
  Cache(const Cache &) = delete;

  const kvfold_memory &memory() const { return memory_; }
  const CacheShape &shape() const { return shape_; }
  size_t row_bytes() const { return tensor_of(memory_, 0, KVFOLD_KEYS).row_bytes; }

 private:
  /// Halves between 0.25 and 1 of either sign, also where they are scales of blocks; the same for all tensors.
  void fill() {
    const size_t bytes = row_bytes() * shape_.cells;
    std::vector<uint16_t> halves(bytes / 2);
    std::mt19937 random(7);
    const uint32_t exponents = shape_.type == KVFOLD_F16 ? 0x3400u : 0x2400u;
    for (uint16_t &half : halves) {
      const uint32_t bits = random();
      half = static_cast<uint16_t>((bits & 0x8000u) | (exponents + (bits & 0x7ffu)));
    }
    for (kvfold_memory_layer &layer : layers_) {
      for (void **data : {&layer.keys, &layer.values}) {
        kvfold_error error{};
        need(kDeviceMemory.allocate(0, bytes, data, &error), error);
        need(kDeviceMemory.copy(0, *data, halves.data(), bytes, KVFOLD_COPY_IN, &error), error);
      }
      layer.key_bytes = layer.value_bytes = bytes;
    }
  }

  CacheShape shape_;
  std::vector<double> frequencies_;
  std::vector<kvfold_memory_layer> layers_;
  kvfold_memory memory_{};
};

/// Rows of `members` neighbours each over the first cells, single cells after them.
struct Fold4 {
  std::vector<uint32_t> slots, offsets, members, destinations, counts;
  std::vector<int32_t> positions, row_positions;
  std::vector<float> weights;
  std::vector<uint8_t> free;
  kvfold_fit_request fit{};
  kvfold_target target{};
  kvfold_plan plan{};

  void bind(const Cache &cache) {
    target.memory = &cache.memory();
    target.cells = plan.cells = static_cast<uint32_t>(slots.size());
    target.slots = {slots.data(), slots.size()};
    target.positions = {positions.data(), positions.size()};
    target.destinations = {destinations.data(), destinations.size()};
    plan.rows = static_cast<uint32_t>(row_positions.size());
    plan.positions = {row_positions.data(), row_positions.size()};
    plan.counts = {counts.data(), counts.size()};
    plan.members = {members.data(), members.size()};
    if (plan.layout == KVFOLD_SHARED) {
      plan.dropped = slots.size() - members.size();
      plan.offsets = {offsets.data(), offsets.size()};
      plan.key_weights = plan.value_weights = {KVFOLD_SCOPE_ALL, {weights.data(), weights.size()}};
    } else {
      plan.dropped = plan.cells - plan.rows;
    }
  }
};

enum class Kind { evict, merge, turn, composite, pairs };

inline void add_row(Fold4 *fold, uint32_t first, uint32_t count, uint32_t step) {
  fold->offsets.push_back(static_cast<uint32_t>(fold->members.size()));
  for (uint32_t i = 0; i < count; i++) fold->members.push_back(first + i * step);
  for (uint32_t i = 0; i < count; i++) fold->weights.push_back(1.0f / static_cast<float>(count));
  fold->row_positions.push_back(static_cast<int32_t>(first));
  fold->counts.push_back(count);
}

/// evict, merge, turn, composite: every four cells become one, packed into the first slots. pairs: 256 pairs become one
/// cell each, in the slot of their first; all others stay where they are.
inline std::unique_ptr<Fold4> make_fold(const Cache &cache, Kind kind) {
  auto fold = std::make_unique<Fold4>();
  const uint32_t cells = cache.shape().cells, quarter = cells / 4;
  for (uint32_t c = 0; c < cells; c++) fold->slots.push_back(c);
  for (uint32_t c = 0; c < cells; c++) fold->positions.push_back(static_cast<int32_t>(c));
  if (kind == Kind::composite) {
    fold->plan.layout = KVFOLD_COMPOSITE;
    fold->plan.layers = cache.shape().layers;
    fold->plan.kv_heads = cache.shape().heads;
    for (uint32_t group = 0; group < cache.shape().layers * cache.shape().heads; group++) {
      for (uint32_t row = 0; row < quarter; row++) fold->members.push_back(4 * row + (group + row) % 4);
    }
  }
  for (uint32_t c = 0; c < cells && kind == Kind::pairs; c++) {
    const bool paired = c < 512;
    if (paired && c % 2 == 1) continue;
    add_row(fold.get(), c, paired ? 2 : 1, 1);
    fold->destinations.push_back(c);
  }
  for (uint32_t row = 0; row < quarter && kind != Kind::pairs; row++) {
    if (kind == Kind::evict) add_row(fold.get(), 4 * row + 3, 1, 1);
    else if (kind != Kind::composite) add_row(fold.get(), 4 * row, 4, 1);
    fold->destinations.push_back(row);
    if (kind != Kind::composite) continue;
    fold->row_positions.push_back(static_cast<int32_t>(4 * row));
    fold->counts.push_back(1);
  }
  if (kind != Kind::composite) fold->offsets.push_back(static_cast<uint32_t>(fold->members.size()));
  fold->plan.key_frame = kind == Kind::turn ? KVFOLD_FRAME_TARGET : KVFOLD_FRAME_STORED;
  fold->bind(cache);
  return fold;
}

}  // namespace bench
}  // namespace cuda
}  // namespace kvfold

#endif

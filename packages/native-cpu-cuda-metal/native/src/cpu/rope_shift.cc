// The operation `rope`: stored keys turned in place.
//
//     prepare    keys whose cells move  ->  turned, in the type of the cache, in scratch
//     commit     scratch  <->  cache
//     rollback   scratch  <->  cache, as far as the commit came
//
// After a commit the scratch holds the old bytes: it is the undo log, and nothing is held twice.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "common/location.h"
#include "common/turned.h"
#include "cpu/fold.h"
#include "cpu/pool.h"
#include "cpu/quant.h"
#include "cpu/touch.h"

namespace kvfold {
namespace cpu {
namespace {

constexpr size_t kCellsOfTask = 64;

/// The keys of one layer that turn. A cell is listed when one of its heads turns; the others are copied along.
struct ShiftedLayer {
  Tensor keys{};
  size_t channels = 0, head_bytes = 0;  // the part of a slice that turns
  std::vector<uint32_t> cells;
  Pages scratch;                 // [cells, heads, head_bytes]
  std::vector<uint32_t> swapped;  // cells of each task that are in the cache

  size_t tasks() const { return (cells.size() + kCellsOfTask - 1) / kCellsOfTask; }
  size_t end(size_t task) const { return std::min(cells.size(), (task + 1) * kCellsOfTask); }
  uint8_t *slice(size_t index, size_t head) { return scratch.data() + (index * keys.heads + head) * head_bytes; }
};

void swap_bytes(uint8_t *a, uint8_t *b, size_t count) {
  uint8_t held[256];
  for (size_t i = 0; i < count; i += sizeof held) {
    const size_t part = std::min(sizeof held, count - i);
    std::memcpy(held, a + i, part);
    std::memcpy(a + i, b + i, part);
    std::memcpy(b + i, held, part);
  }
}

struct Workspace {
  std::vector<float> key;
  AngleSpace angles;
  explicit Workspace(size_t dim) : key(dim), angles(dim) { angles.bind(); }
};

struct RopeShift final : Change {
  const kvfold_rope &rope;
  std::vector<ShiftedLayer> layers;
  uint64_t held_bytes = 0;

  explicit RopeShift(const kvfold_rope &of) : rope(of), layers(of.memory->layer_count) {}

  void swap_cell(ShiftedLayer *layer, size_t index) const {
    const size_t slot = rope.slots.data[layer->cells[index]];
    for (size_t head = 0; head < layer->keys.heads; head++)
      swap_bytes(layer->keys.slice(slot, head), layer->slice(index, head), layer->head_bytes);
  }

  kvfold_status save(const kvfold_options *, kvfold_error *) override { return KVFOLD_OK; }

  kvfold_status commit(const kvfold_options *options, kvfold_error *error) override {
    FaultGate gate(options);
    each_task(options->threads, [&](ShiftedLayer *layer, size_t task) {
      if (!gate.pass()) return;
      const size_t begin = task * kCellsOfTask, end = layer->end(task), middle = begin + (end - begin) / 2;
      for (size_t i = begin; i < end; i++) {
        if (i == middle && !gate.pass()) return;
        swap_cell(layer, i);
        layer->swapped[task]++;
      }
    });
    return gate.pass() ? KVFOLD_OK : gate.fail_at("while keys were turned", error);
  }

  void rollback(const kvfold_options *options) override {
    each_task(options->threads, [&](ShiftedLayer *layer, size_t task) {
      for (; layer->swapped[task] > 0; layer->swapped[task]--)
        swap_cell(layer, task * kCellsOfTask + layer->swapped[task] - 1);
    });
  }

  kvfold_fold_report report() const override { return {nullptr, 0, held_bytes, 0}; }

  template <typename Work>
  void each_task(uint32_t threads, const Work &work) {
    size_t count = 0;
    for (const ShiftedLayer &layer : layers) count += layer.tasks();
    parallel_for(threads, count, [&](size_t task, uint32_t) {
      ShiftedLayer *layer = layers.data();
      for (; task >= layer->tasks(); layer++) task -= layer->tasks();
      work(layer, task);
    });
  }
};

/// One slice into scratch: turned, or as it is.
void turn_slice(const RopeShift &shift, uint32_t index, size_t head, size_t cell, Workspace *space,
                const uint8_t *from, uint8_t *to) {
  const kvfold_memory_layer &layer = shift.rope.memory->layers[index];
  const ShiftedLayer &shifted = shift.layers[index];
  const int32_t delta = delta_of(shift.rope, index, head, cell);
  if (delta == 0) {
    std::memcpy(to, from, shifted.head_bytes);
    return;
  }
  decode(layer.key_type, from, space->key.data(), shifted.channels);
  hadamard(layer.hadamard_key, space->key.data(), shifted.channels);
  space->angles.angles.set(layer, delta);
  rotate(layer, space->angles.angles, space->key.data());
  hadamard(layer.hadamard_key, space->key.data(), shifted.channels);
  encode(layer.key_type, space->key.data(), to, shifted.channels);
}

bool turns(const kvfold_rope &rope, uint32_t layer, size_t heads, size_t cell) {
  for (size_t head = 0; head < heads; head++) {
    if (delta_of(rope, layer, head, cell) != 0) return true;
  }
  return false;
}

kvfold_status prepare_layer(RopeShift *shift, uint32_t index, const kvfold_options *options, kvfold_error *error) {
  const kvfold_rope &rope = shift->rope;
  const kvfold_memory_layer &of = rope.memory->layers[index];
  ShiftedLayer &layer = shift->layers[index];
  layer.keys = tensor_of(*rope.memory, index, KVFOLD_KEYS);
  layer.channels = turned_channels(of);
  const TypeSize size = type_size(of.key_type);
  layer.head_bytes = layer.channels / size.channels * size.bytes;
  for (uint32_t cell = 0; cell < rope.slots.length && layer.channels != 0; cell++) {
    if (turns(rope, index, of.kv_heads, cell)) layer.cells.push_back(cell);
  }
  layer.swapped.assign(layer.tasks(), 0);
  // at most the keys themselves, whose size kvfold_check_memory has multiplied out
  const size_t bytes = layer.cells.size() * layer.keys.heads * layer.head_bytes;
  if (!layer.scratch.allocate(bytes)) return fail_memory(error, "the turned keys");
  shift->held_bytes += bytes;
  std::vector<Workspace> spaces;
  for (uint32_t i = 0; i < options->threads; i++) spaces.emplace_back(of.key_dim);
  for (Workspace &space : spaces) space.angles.bind();
  std::atomic<bool> stop{false};
  touch_pages(options->threads, &layer.scratch);
  parallel_for(options->threads, layer.tasks(), [&](size_t task, uint32_t worker) {
    if (stop.load(std::memory_order_relaxed)) return;
    if (cancelled(options)) return stop.store(true, std::memory_order_relaxed);
    for (size_t i = task * kCellsOfTask; i < layer.end(task); i++) {
      for (size_t head = 0; head < layer.keys.heads; head++)
        turn_slice(*shift, index, head, layer.cells[i], &spaces[worker],
                   layer.keys.slice(rope.slots.data[layer.cells[i]], head), layer.slice(i, head));
    }
  });
  return stop.load() ? fail_aborted(error) : KVFOLD_OK;
}

kvfold_status prepare(RopeShift *shift, const kvfold_options *options, kvfold_error *error) {
  if (kvfold_status status = require_location(*shift->rope.memory, KVFOLD_LOCATION_HOST, "cpu", error)) return status;
  for (uint32_t l = 0; l < shift->rope.memory->layer_count; l++) {
    if (cancelled(options)) return fail_aborted(error);
    if (fault_here(options)) return fail_fault(options, error, "before the keys of a layer were turned");
    if (kvfold_status status = prepare_layer(shift, l, options, error)) return status;
    if (fault_here(options)) return fail_fault(options, error, "after the keys of a layer were turned");
  }
  return cancelled(options) ? fail_aborted(error) : KVFOLD_OK;
}

}  // namespace

kvfold_status rope_prepare(const kvfold_rope *rope, const kvfold_options *options, kvfold_fold **out,
                           kvfold_error *error) {
  *out = nullptr;
  kvfold_status status = KVFOLD_OK;
  try {
    auto shift = std::make_unique<RopeShift>(*rope);
    status = prepare(shift.get(), options, error);
    if (status == KVFOLD_OK) *out = shift.release()->handle();
  } catch (...) {
    status = fail_memory(error, "the rope shift");
  }
  return status;
}

}  // namespace cpu
}  // namespace kvfold

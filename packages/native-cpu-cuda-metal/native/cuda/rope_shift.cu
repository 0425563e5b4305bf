// The operation `rope`: stored keys turned in place.
//
//     prepare    keys whose cells move  ->  turned, in the type of the cache, in scratch
//     commit     scratch  <->  cache
//     rollback   scratch  <->  cache, as far as the commit came
//
// After a commit the scratch holds the old bytes: it is the undo log, and nothing is held twice.
#include <algorithm>
#include <memory>

#include "common/turned.h"
#include "cuda/fold.h"
#include "cuda/move_rows.h"
#include "cuda/read.h"
#include "cuda/slice.h"

namespace kvfold {
namespace cuda {
namespace {

/// The keys of one layer that turn, as the kernels see them.
struct ShiftTable {
  TensorTable keys;
  uint8_t *scratch;       ///< [cells, heads, turned_bytes]
  const uint32_t *slots;  ///< [cells]
  const int32_t *deltas;  ///< [cells], or by head [heads, cells]
  uint32_t cells, by_head;
  uint32_t channels, turned_bytes;  ///< of a slice, from its start
};

/// A block one cell, a warp one head after another. grid: [cells]
__global__ void __launch_bounds__(kSliceWarps *kWarp) turn_keys(ShiftTable shift) {
  __shared__ SliceSpace spaces[kSliceWarps];
  __shared__ Turn known[kMaxDim / 2];
  const TensorTable &keys = shift.keys;
  const uint32_t cell = blockIdx.x;
  if (shift.by_head == 0) {
    for (uint32_t pair = threadIdx.x; pair < keys.pairs; pair += blockDim.x)
      known[pair] = turn_by(shift.deltas[cell], keys.frequencies[pair]);
  }
  __syncthreads();
  float *key = spaces[threadIdx.x / kWarp].member;
  for (uint32_t head = threadIdx.x / kWarp; head < keys.heads; head += kSliceWarps) {
    const int32_t delta = shift.deltas[(shift.by_head != 0 ? size_t{head} * shift.cells : 0) + cell];
    uint8_t *to = shift.scratch + (size_t{cell} * keys.heads + head) * shift.turned_bytes;
    if (delta == 0) {  // of a cell that turns in another head
      const uint8_t *from = keys.slice(shift.slots[cell], head);
      for (uint32_t byte = 2 * lane_index(); byte < shift.turned_bytes; byte += 2 * kWarp)
        store_half(to + byte, load_half(from + byte));
      continue;
    }
    decode_slice(keys, PlanTable{}, shift.slots[cell], head, key);
    hadamard(keys.hadamard, key, shift.channels);
    rotate(keys.pairing, keys.pairs, keys.frequencies, delta, shift.by_head != 0 ? nullptr : known, key);
    hadamard(keys.hadamard, key, shift.channels);
    encode_slice(keys.type, shift.channels, key, to);
  }
}

/// Exchanges scratch and cache of the cells [begin, end). grid: [tiles]
template <typename Word>
__global__ void __launch_bounds__(kMoveThreads) swap_keys(ShiftTable shift, uint32_t begin, uint32_t end) {
  const TensorTable &keys = shift.keys;
  const uint32_t of_slice = shift.turned_bytes / static_cast<uint32_t>(sizeof(Word)), of_cell = of_slice * keys.heads;
  const uint32_t cells = rows_of_tile(of_cell);
  const uint64_t first = begin + uint64_t{blockIdx.x} * cells;
  if (first >= end) return;
  const uint32_t total = (end - first < cells ? static_cast<uint32_t>(end - first) : cells) * of_cell;
  for (uint32_t at = threadIdx.x; at < total; at += blockDim.x) {
    const uint32_t tile_cell = at / of_cell, inside = at - tile_cell * of_cell, head = inside / of_slice;
    const uint32_t cell = static_cast<uint32_t>(first) + tile_cell;
    uint8_t *slice = keys.data + shift.slots[cell] * keys.row_bytes + size_t{head} * keys.slice_bytes;
    Word *cached = reinterpret_cast<Word *>(slice) + (inside - head * of_slice);
    Word *held = reinterpret_cast<Word *>(shift.scratch) + (size_t{cell} * of_cell + inside);
    const Word word = *cached;
    *cached = *held;
    *held = word;
  }
}

/// Cells that turn and by how much, of one layer or of all layers without deltas of their own.
struct Shifted {
  std::vector<uint32_t> slots;
  std::vector<int32_t> deltas;  // [cells], or by head [heads, cells]
};

Shifted find_shifted(const kvfold_rope &rope, uint32_t layer, uint32_t heads) {
  Shifted out;
  std::vector<uint32_t> cells;
  for (uint32_t cell = 0; cell < rope.slots.length; cell++) {
    bool turns = false;
    for (uint32_t head = 0; head < heads && !turns; head++) turns = delta_of(rope, layer, head, cell) != 0;
    if (turns) cells.push_back(cell);
  }
  for (uint32_t cell : cells) out.slots.push_back(rope.slots.data[cell]);
  for (uint32_t head = 0; head < heads; head++) {
    for (uint32_t cell : cells) out.deltas.push_back(delta_of(rope, layer, head, cell));
  }
  return out;
}

/// On one device.
struct ShiftedCells {
  const Device *device = nullptr;
  uint32_t cells = 0;
  Buffer<uint32_t> slots;
  Buffer<int32_t> deltas;

  kvfold_status upload(Device *to, const Shifted &from, kvfold_error *error) {
    device = to;
    cells = static_cast<uint32_t>(from.slots.size());
    if (cells == 0) return KVFOLD_OK;
    if (kvfold_status status = slots.upload(to, from.slots.data(), from.slots.size(), "slots", error)) return status;
    if (kvfold_status status = deltas.upload(to, from.deltas.data(), from.deltas.size(), "deltas", error))
      return status;
    return to->wait(error);  // `from` goes
  }
};

struct ShiftedLayer {
  Device *device = nullptr;
  ShiftTable table{};  // no cells: nothing turns here
  Buffer<double> frequencies;
  Buffer<uint8_t> scratch;
  uint32_t swapped = 0;  // cells that are in the cache
};

using SwapKernel = void (*)(ShiftTable, uint32_t, uint32_t);

uint32_t grain_of(const ShiftTable &table) {
  const uint64_t all = reinterpret_cast<uintptr_t>(table.keys.data) | table.keys.row_bytes | table.keys.slice_bytes |
                       reinterpret_cast<uintptr_t>(table.scratch) | table.turned_bytes | 16;
  return static_cast<uint32_t>(all & (~all + 1));
}

SwapKernel swap_kernel(uint32_t grain) {
  switch (grain) {
    case 16: return swap_keys<uint4>;
    case 8: return swap_keys<uint2>;
    case 4: return swap_keys<uint32_t>;
    default: return swap_keys<uint16_t>;
  }
}

struct RopeShift final : Change {
  const kvfold_rope &rope;
  std::vector<std::unique_ptr<ShiftedCells>> shared, own;  // lists of a device, lists of a layer
  std::vector<std::unique_ptr<ShiftedLayer>> layers;
  uint64_t held_bytes = 0;

  explicit RopeShift(const kvfold_rope &of) : rope(of) {}

  kvfold_status save(kvfold_error *) override { return KVFOLD_OK; }  // the commit exchanges

  kvfold_status commit(const kvfold_options *options, kvfold_error *error) override {
    return wait_all(commit_layers(options, error), error);
  }

  kvfold_status rollback(kvfold_error *error) override {
    kvfold_status status = KVFOLD_OK;
    for (const auto &layer : layers) {
      if (status != KVFOLD_OK) break;
      status = swap(*layer, 0, layer->swapped, error);
      if (status == KVFOLD_OK) layer->swapped = 0;
    }
    return wait_all(status, error);
  }

  kvfold_fold_report report() const override { return {nullptr, 0, held_bytes, 0}; }

  kvfold_status prepare(const kvfold_options *options, kvfold_error *error) {
    if (kvfold_status status = check_location(*rope.memory, error)) return status;
    for (uint32_t l = 0; l < rope.memory->layer_count; l++) {
      if (cancelled(options)) return fail_aborted(error);
      if (fault_here(options)) return fail_fault(options, error, "before the keys of a layer were turned");
      if (kvfold_status status = prepare_layer(l, error)) return status;
      if (fault_here(options)) return fail_fault(options, error, "after the keys of a layer were turned");
    }
    return cancelled(options) ? fail_aborted(error) : KVFOLD_OK;
  }

 private:
  kvfold_status wait_all(kvfold_status status, kvfold_error *error) const {
    for (const auto &layer : layers) status = wait_too(*layer->device, status, error);
    return status;
  }

  kvfold_status swap(const ShiftedLayer &layer, uint32_t begin, uint32_t end, kvfold_error *error) const {
    if (begin >= end) return KVFOLD_OK;
    if (kvfold_status status = layer.device->use(error)) return status;
    const uint32_t grain = grain_of(layer.table);
    const dim3 grid(ceil_div(end - begin, rows_of_tile(layer.table.turned_bytes / grain * layer.table.keys.heads)), 1);
    const cudaError_t code =
        launch(swap_kernel(grain), grid, kMoveThreads, layer.device->stream(), layer.table, begin, end);
    return check(code, "exchanging keys", error);
  }

  kvfold_status commit_layers(const kvfold_options *options, kvfold_error *error) {
    for (const auto &layer : layers) {
      const uint32_t cells = layer->table.cells;
      if (fault_here(options)) return fail_fault(options, error, "before the keys of a layer were exchanged");
      for (uint32_t end : {cells / 2, cells}) {
        if (kvfold_status status = swap(*layer, layer->swapped, end, error)) return status;
        layer->swapped = std::max(layer->swapped, end);
        if (fault_here(options)) return fail_fault(options, error, "while the keys of a layer were exchanged");
      }
    }
    return KVFOLD_OK;
  }

  bool has_own(uint32_t layer) const { return rope.layer_deltas != nullptr && rope.layer_deltas[layer].length != 0; }

  /// The list of a layer: its own, or the one that layers of a device share.
  kvfold_status list_of(uint32_t index, Device *device, const ShiftedCells **out, kvfold_error *error) {
    const auto same = [device](const std::unique_ptr<ShiftedCells> &list) { return list->device == device; };
    const auto known = std::find_if(shared.begin(), shared.end(), same);
    if (!has_own(index) && known != shared.end()) {
      *out = known->get();
      return KVFOLD_OK;
    }
    auto &kept = has_own(index) ? own : shared;
    kept.push_back(std::make_unique<ShiftedCells>());
    *out = kept.back().get();
    const uint32_t heads = has_own(index) ? rope.memory->layers[index].kv_heads : 1;
    return kept.back()->upload(device, find_shifted(rope, index, heads), error);
  }

  kvfold_status prepare_layer(uint32_t index, kvfold_error *error) {
    const kvfold_memory_layer &of = rope.memory->layers[index];
    auto layer = std::make_unique<ShiftedLayer>();
    ShiftTable &table = layer->table;
    if (kvfold_status status = supports(&of, error)) return status;
    if (kvfold_status status = Device::open(of.device, &layer->device, error)) return status;
    table.channels = static_cast<uint32_t>(turned_channels(of));
    if (table.channels != 0) {
      const ShiftedCells *list = nullptr;
      if (kvfold_status status = list_of(index, layer->device, &list, error)) return status;
      if (kvfold_status status = turn_layer(index, *list, layer.get(), error)) return status;
    }
    layers.push_back(std::move(layer));
    return KVFOLD_OK;
  }

  kvfold_status turn_layer(uint32_t index, const ShiftedCells &list, ShiftedLayer *layer, kvfold_error *error) {
    if (list.cells == 0) return KVFOLD_OK;
    const kvfold_memory_layer &of = rope.memory->layers[index];
    Device *device = layer->device;
    if (kvfold_status status =
            layer->frequencies.upload(device, of.rope_frequencies, of.rope_dims / 2, "frequencies", error))
      return status;
    ShiftTable &table = layer->table;
    table.keys = table_of(*rope.memory, index, KVFOLD_KEYS, layer->frequencies.data());
    const TypeSize size = type_size(table.keys.type);
    table.turned_bytes = table.channels / size.channels * size.bytes;
    // at most the keys themselves, whose size kvfold_check_memory has multiplied out
    const size_t bytes = size_t{list.cells} * table.keys.heads * table.turned_bytes;
    if (kvfold_status status = layer->scratch.allocate(device, bytes, "the turned keys", error)) return status;
    held_bytes += bytes;
    table.scratch = layer->scratch.data();
    table.slots = list.slots.data();
    table.deltas = list.deltas.data();
    table.cells = list.cells;
    table.by_head = has_own(index) ? 1 : 0;
    const dim3 grid(list.cells, 1);
    const cudaError_t code = launch(turn_keys, grid, kSliceWarps * kWarp, device->stream(), table);
    if (kvfold_status status = check(code, "turning keys", error)) return status;
    return device->wait(error);
  }
};

}  // namespace

kvfold_status rope_prepare(const kvfold_rope *rope, const kvfold_options *options, kvfold_fold **out,
                           kvfold_error *error) {
  *out = nullptr;
  try {
    auto shift = std::make_unique<RopeShift>(*rope);
    const kvfold_status status = shift->prepare(options, error);
    if (status == KVFOLD_OK) *out = shift.release()->handle();
    return status;
  } catch (...) {
    return fail_memory(error, "the rope shift");
  }
}

}  // namespace cuda
}  // namespace kvfold

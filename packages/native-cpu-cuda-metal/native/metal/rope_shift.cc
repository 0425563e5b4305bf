// The operation `rope`: stored keys turned in place. Only slices that turn are touched.
//
//     prepare    head by head: decode -> transform -> rotate -> transform -> encode into scratch
//     commit     old slices -> undo log; when all are there, scratch -> cache
//     rollback   undo log -> cache, by the CPU
#include <cstring>
#include <memory>
#include <vector>

#include "common/location.h"
#include "common/turned.h"
#include "metal/copy.h"
#include "metal/fold.h"
#include "metal/values.h"

namespace kvfold {
namespace metal {
namespace {

/// The keys of one layer that turn.
struct ShiftedLayer {
  TensorWork of;               // scratch: whole slices, as encode_rows makes them; table: unused
  Tensor keys{};
  uint32_t head_bytes = 0;     // the part of a slice that turns
  std::vector<uint64_t> starts;  // first byte of each slice in the tensor
  Buffer starts_buffer;
};

struct RopeShift final : cpu::Change {
  const kvfold_rope &rope;
  std::vector<ShiftedLayer> layers;
  uint64_t held_bytes = 0;
  bool saved = false;

  explicit RopeShift(const kvfold_rope &of) : rope(of), layers(of.memory->layer_count) {}

  kvfold_status save(const kvfold_options *options, kvfold_error *error) override;
  kvfold_status commit(const kvfold_options *options, kvfold_error *error) override;
  void rollback(const kvfold_options *) override;
  kvfold_fold_report report() const override { return {nullptr, 0, held_bytes, 0}; }
};

/// Slices of one head that turn: their slots and by how much.
struct ShiftedHead {
  std::vector<uint32_t> slots;
  std::vector<int64_t> deltas;

  ShiftedHead(const kvfold_rope &rope, uint32_t layer, size_t head) {
    for (size_t cell = 0; cell < rope.slots.length; cell++) {
      const int32_t delta = delta_of(rope, layer, head, cell);
      if (delta == 0) continue;
      slots.push_back(rope.slots.data[cell]);
      deltas.push_back(delta);
    }
  }
};

/// Gathers what turns the keys of one head into scratch, from the `first`-th slice of the layer on.
bool turn_head(const kvfold_memory_layer &of, const ShiftedLayer &layer, uint32_t head, const ShiftedHead &shifted,
               uint32_t first, Work *work) {
  const uint32_t dim = layer.keys.dim, count = static_cast<uint32_t>(shifted.slots.size());
  Buffer slots, deltas, turns, rows;
  std::vector<uint32_t> numbers(count);
  for (uint32_t i = 0; i < count; i++) numbers[i] = first + i;
  SliceStore store;
  if (!slots.assign(shifted.slots.data(), count) || !deltas.assign(shifted.deltas.data(), count) ||
      !load_turns(of, &turns) || !rows.allocate(uint64_t{count} * dim * sizeof(float)) ||
      !store.load(numbers, layer.keys))
    return false;
  decode_head(work, {layer.of.cache, layer.keys, slots, slots, count, 0, 0}, head, rows);
  transform_rows(work, layer.keys.hadamard, dim, count, rows);
  rotate_rows(work, rope_of(of), dim, count, rows, deltas, turns);
  transform_rows(work, layer.keys.hadamard, dim, count, rows);
  store.encode(work, layer.of, 0, 0, rows, true);
  return true;
}

kvfold_status prepare_layer(RopeShift *shift, uint32_t index, Work *work, kvfold_error *error) {
  const kvfold_memory_layer &of = shift->rope.memory->layers[index];
  ShiftedLayer &layer = shift->layers[index];
  if (rope_of(of).pairs == 0) return KVFOLD_OK;
  layer.keys = tensor_of(*shift->rope.memory, index, KVFOLD_KEYS);
  const TypeSize size = type_size(of.key_type);
  layer.head_bytes = static_cast<uint32_t>(turned_channels(of)) / size.channels * size.bytes;
  std::vector<ShiftedHead> heads;
  for (uint32_t head = 0; head < layer.keys.heads; head++) {
    heads.emplace_back(shift->rope, index, head);
    for (uint32_t slot : heads.back().slots)
      layer.starts.push_back(uint64_t{slot} * layer.keys.row_bytes + head * layer.keys.slice_bytes);
  }
  // at most the keys themselves, whose size kvfold_check_memory has multiplied out
  const uint64_t slices = layer.starts.size();
  if (slices > UINT32_MAX) return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "more than 2^32 keys turn in a layer");
  if (!layer.of.cache.open(layer.keys) || !layer.of.scratch.allocate(slices * layer.keys.slice_bytes) ||
      !layer.of.undo.allocate(slices * layer.head_bytes) || !layer.starts_buffer.assign(layer.starts.data(), slices))
    return fail_memory(error, "the turned keys");
  shift->held_bytes += slices * (layer.keys.slice_bytes + layer.head_bytes + sizeof(uint64_t));
  uint32_t first = 0;
  for (uint32_t head = 0; head < layer.keys.heads; head++) {
    if (!turn_head(of, layer, head, heads[head], first, work)) return fail_memory(error, "the turned keys");
    first += static_cast<uint32_t>(heads[head].slots.size());
  }
  return KVFOLD_OK;
}

kvfold_status prepare(RopeShift *shift, const kvfold_options *options, kvfold_error *error) {
  if (kvfold_status status = check_device(error)) return status;
  Work work;
  for (uint32_t l = 0; l < shift->rope.memory->layer_count; l++) {
    if (cancelled(options)) return fail_aborted(error);
    if (fault_here(options)) return fail_fault(options, error, "before the keys of a layer were turned");
    if (kvfold_status status = prepare_layer(shift, l, &work, error)) return status;
    if (fault_here(options)) return fail_fault(options, error, "after the keys of a layer were turned");
  }
  if (kvfold_status status = work.finish(error)) return status;
  return cancelled(options) ? fail_aborted(error) : KVFOLD_OK;
}

/// Moves slices [from, to) of a layer.
void move(const ShiftedLayer &layer, bool write, uint32_t from, uint32_t to, Work *work) {
  const TensorLayout layout = layer.of.cache.layout();
  const CopyUnit unit = copy_unit(layout.base | layout.slice_bytes | layer.head_bytes);
  CopyParameters p{};
  p.base = layout.base / unit.bytes;
  p.row_units = layout.slice_bytes / unit.bytes;
  p.slice_units = layer.head_bytes / unit.bytes;
  p.first = from;
  const uint64_t threads = uint64_t{to - from} * p.slice_units;
  if (write)
    work->run(unit.write_slices, p, threads, {layer.of.cache.buffer(), layer.of.scratch, layer.starts_buffer});
  else
    work->run(unit.save_slices, p, threads, {layer.of.cache.buffer(), layer.of.undo, layer.starts_buffer});
}

uint32_t slices_of(const ShiftedLayer &layer) { return static_cast<uint32_t>(layer.starts.size()); }

kvfold_status RopeShift::save(const kvfold_options *options, kvfold_error *error) {
  if (saved) return KVFOLD_OK;
  Work work;
  for (ShiftedLayer &layer : layers) {
    const uint32_t slices = slices_of(layer);
    if (kvfold_status status = reach(&work, options, "before the old keys were saved", error)) return status;
    move(layer, false, 0, slices / 2, &work);
    if (kvfold_status status = reach(&work, options, "while the old keys were saved", error)) return status;
    move(layer, false, slices / 2, slices, &work);
    if (kvfold_status status = reach(&work, options, "after the old keys were saved", error)) return status;
  }
  if (kvfold_status status = work.finish(error)) return status;
  saved = true;
  return KVFOLD_OK;
}

/// Turned keys into the cache; of a copy, into the owner's memory as well, as far as the work came.
kvfold_status RopeShift::commit(const kvfold_options *options, kvfold_error *error) {
  if (kvfold_status status = save(options, error)) return status;
  Work work;
  kvfold_status status = KVFOLD_OK;
  for (const ShiftedLayer &layer : layers) {
    const uint32_t slices = slices_of(layer);
    move(layer, true, 0, slices / 2, &work);
    if ((status = reach(&work, options, "while keys were turned", error)) != KVFOLD_OK) break;
    move(layer, true, slices / 2, slices, &work);
    if ((status = reach(&work, options, "after keys were turned", error)) != KVFOLD_OK) break;
  }
  if (status == KVFOLD_OK) status = work.finish(error);
  for (const ShiftedLayer &layer : layers) {
    if (slices_of(layer) != 0) layer.of.cache.publish(rope.slots);
  }
  return status;
}

void RopeShift::rollback(const kvfold_options *) {
  for (ShiftedLayer &layer : layers) {
    const uint8_t *from = layer.of.undo.as<uint8_t>();
    for (size_t i = 0; i < layer.starts.size() && saved; i++)
      std::memcpy(layer.keys.data + layer.starts[i], from + i * layer.head_bytes, layer.head_bytes);
  }
}

}  // namespace

kvfold_status rope_prepare(const kvfold_rope *rope, const kvfold_options *options, kvfold_fold **out,
                           kvfold_error *error) {
  *out = nullptr;
  if (kvfold_status status = require_location(*rope->memory, KVFOLD_LOCATION_HOST, kBackend.name, error)) return status;
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

}  // namespace metal
}  // namespace kvfold

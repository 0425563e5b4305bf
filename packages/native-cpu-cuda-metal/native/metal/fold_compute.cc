// Computed slices: which kernels make them, and with what (fold.metal).
//
//     rows         compute_rows: chunks of channels, each turned next to its decoding
//     transposed   compute_lanes: one element each
//     turned out of a Hadamard basis, head by head:
//         all cells -> decode, transform -> sum of turned members -> transform -> encode
#include "metal/fold_compute.h"

#include "common/error.h"
#include "common/q8_sums.h"
#include "metal/values.h"

namespace kvfold {
namespace metal {
namespace {

static_assert(kQ8Terms == kvfold::kQ8Terms && KVFOLD_METAL_Q8_FULL == kQ8Full && KVFOLD_METAL_Q8_LEAST == kQ8Least &&
                  KVFOLD_METAL_Q8_SCALE == kQ8Scale && KVFOLD_METAL_Q8_STEPS == kQ8Steps,
              "layout.h has the numbers of common/q8_sums.h");

/// Which slices of a tensor are computed.
struct Computed {
  uint32_t slices = 0;
  bool turned = false;  // some key does not stay where it was rotated
  Buffer places, copies;

  bool load(const SliceTable &table, const Recipe &recipe, const Tensor &tensor) {
    slices = table.computed_before(tensor.heads);
    if (!places.allocate(uint64_t{slices} * 4) || !copies.allocate(uint64_t{slices} * 4)) return false;
    const size_t rows = table.rows();
    for (size_t head = 0; head < tensor.heads; head++) {
      for (size_t row = 0; row < rows; row++) {
        const uint32_t entry = table.entry(head, row);
        if (!SliceTable::is_computed(entry)) continue;
        const int64_t cell = recipe.copied_cell(row, head);
        places.as<uint32_t>()[SliceTable::index(entry)] = static_cast<uint32_t>(head * rows + row);
        copies.as<uint32_t>()[SliceTable::index(entry)] = cell < 0 ? kNone : recipe.target->slots.data[cell];
      }
    }
    return true;
  }
};

ComputeParameters parameters_of(const Fold &fold, uint32_t index, const TensorLayout &layout, uint32_t slices) {
  const kvfold_plan &plan = *fold.plan;
  const kvfold_weights &weights = index % 2 == KVFOLD_KEYS ? plan.key_weights : plan.value_weights;
  ComputeParameters parameters{};
  parameters.tensor = layout;
  parameters.chunks = chunks_of(layout.dim);
  parameters.slices = slices;
  parameters.rows = plan.rows;
  parameters.cells = plan.cells;
  parameters.members = static_cast<uint32_t>(plan.members.length);
  if (weights.scope == KVFOLD_SCOPE_LAYER) parameters.weight_group = index / 2;
  if (weights.scope == KVFOLD_SCOPE_HEAD) {
    parameters.weight_group = index / 2 * most_heads(*fold.target->memory);
    parameters.weight_per_head = 1;
  }
  return parameters;
}

/// Where keys turn from: positions with which each (head, cell) or cell was rotated.
bool load_sources(const kvfold_target &target, uint32_t layer, ComputeParameters *parameters, Buffer *sources) {
  const bool mapped = target.sources != nullptr && target.sources[layer].length != 0;
  parameters->source_per_head = mapped ? 1 : 0;
  const kvfold_i32_span &from = mapped ? target.sources[layer] : target.positions;
  return sources->assign(from.data, from.length);
}

/// Keys under a Hadamard rotation that turn.
kvfold_status compute_transformed(const Fold &fold, uint32_t index, const PlanBuffers &arrays, const Computed &computed,
                                  const Buffer &sources, const Buffer &turns, ComputeParameters parameters, Work *work,
                                  kvfold_error *error) {
  const Tensor tensor = fold.tensor(index);
  const TensorWork &of = fold.tensors[index];
  uint32_t most = 0;
  for (uint32_t head = 0; head < tensor.heads; head++) {
    const uint32_t count = fold.table.computed_before(head + 1) - fold.table.computed_before(head);
    most = count > most ? count : most;
  }
  Buffer plain, sums;
  if (!plain.allocate(uint64_t{fold.target->cells} * tensor.dim * sizeof(float)) ||
      !sums.allocate(uint64_t{most} * tensor.dim * sizeof(float)))
    return fail_memory(error, "keys out of their Hadamard basis");
  for (uint32_t head = 0; head < tensor.heads; head++) {
    const uint32_t before = fold.table.computed_before(head), count = fold.table.computed_before(head + 1) - before;
    if (count == 0) continue;
    decode_head(work, {of.cache, tensor, of.scratch, arrays.slots, fold.target->cells, 0, 0}, head, plain);
    transform_rows(work, tensor.hadamard, tensor.dim, fold.target->cells, plain);
    parameters.head = head;
    parameters.first_slice = before;
    work->run("combine_turned", parameters, uint64_t{count} * tensor.dim,
              {plain, sums, computed.places, arrays.offsets, arrays.members, arrays.key_weights, arrays.row_positions,
               sources, turns});
    transform_rows(work, tensor.hadamard, tensor.dim, count, sums);
    std::vector<uint32_t> numbers(count);
    for (uint32_t i = 0; i < count; i++) numbers[i] = before + i;
    SliceStore store;
    if (!store.load(numbers, tensor)) return fail_memory(error, "computed keys");
    store.encode(work, of, before, count, sums, true);
  }
  return KVFOLD_OK;
}

}  // namespace

bool PlanBuffers::load(const kvfold_target &target, const kvfold_plan &plan) {
  return offsets.assign(plan.offsets.data, plan.offsets.length) &&
         members.assign(plan.members.data, plan.members.length) &&
         key_weights.assign(plan.key_weights.data.data, plan.key_weights.data.length) &&
         value_weights.assign(plan.value_weights.data.data, plan.value_weights.data.length) &&
         slots.assign(target.slots.data, target.slots.length) &&
         row_positions.assign(plan.positions.data, plan.positions.length) &&
         cell_positions.assign(target.positions.data, target.positions.length);
}

kvfold_status compute_slices(const Fold &fold, uint32_t index, const PlanBuffers &arrays, Work *work,
                             kvfold_error *error) {
  const Tensor tensor = fold.tensor(index);
  const Recipe recipe = fold.recipe(index);
  const TensorWork &of = fold.tensors[index];
  const kvfold_memory_layer &layer = fold.target->memory->layers[index / 2];
  if (fold.table.computed_before(tensor.heads) == 0) return KVFOLD_OK;
  Computed computed;
  if (!computed.load(fold.table, recipe, tensor)) return fail_memory(error, "the list of computed rows");
  ComputeParameters parameters = parameters_of(fold, index, of.cache.layout(), computed.slices);
  const Buffer &weights = recipe.kind == KVFOLD_KEYS ? arrays.key_weights : arrays.value_weights;
  if (tensor.transposed) {
    work->run("compute_lanes", parameters, uint64_t{computed.slices} * tensor.dim,
              {of.cache.buffer(), of.scratch, computed.places, computed.copies, arrays.offsets, arrays.members, weights,
               arrays.slots, {of.table, uint64_t{tensor.heads} * fold.plan->rows * 4}});
    return KVFOLD_OK;
  }
  Buffer sources, turns;
  if (recipe.kind == KVFOLD_KEYS && fold.plan->key_frame == KVFOLD_FRAME_TARGET &&
      fold.plan->layout == KVFOLD_SHARED)
    parameters.rope = rope_of(layer);
  if (!load_sources(*fold.target, index / 2, &parameters, &sources) || !load_turns(layer, &turns))
    return fail_memory(error, "the positions of the fold");
  if (parameters.rope.pairs != 0 && tensor.hadamard > 1)
    return compute_transformed(fold, index, arrays, computed, sources, turns, parameters, work, error);
  work->run("compute_rows", parameters, uint64_t{computed.slices} * parameters.chunks,
            {of.cache.buffer(), of.scratch, computed.places, computed.copies, arrays.offsets, arrays.members, weights,
             arrays.slots, arrays.row_positions, sources, turns});
  return KVFOLD_OK;
}

}  // namespace metal
}  // namespace kvfold

// Computed slices: decode, turn, weighted sum in f32 in the order of the members, encode. Every slice is made by one
// thread from start to end, so the bits do not depend on how many threads there are. A slice whose value is changed
// afterwards starts as what its members make it, and as a copy of bytes where that is one.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "common/error.h"
#include "cpu/fold.h"
#include "cpu/pool.h"
#include "cpu/quant.h"
#include "cpu/rope.h"

namespace kvfold {
namespace cpu {
namespace {

constexpr size_t kRowsOfTask = 32;
constexpr size_t kChannelsOfTask = 4;

/// Buffers of one thread.
struct Workspace {
  Scratch<float> floats;
  float *member = nullptr, *sum = nullptr;
  Angles angles;

  bool allocate(size_t dim) {
    if (!floats.allocate(3 * dim)) return false;
    member = floats.data();
    sum = member + dim;
    angles.cosines = sum + dim;
    angles.sines = angles.cosines + dim / 2;
    return true;
  }
};

/// One slice in row layout. Turned members are summed outside of the Hadamard basis, which is entered again once.
void compute_row_slice(const Recipe &recipe, const Tensor &tensor, size_t row, size_t head, Workspace *space,
                       uint8_t *out) {
  const kvfold_plan &plan = *recipe.plan;
  const kvfold_memory_layer &layer = recipe.target->memory->layers[recipe.layer];
  const size_t first = plan.offsets.data[row], end = plan.offsets.data[row + 1], dim = tensor.dim;
  bool turned = false;
  for (size_t m = first; m < end && !turned; m++)
    turned = recipe.turn(row, head, plan.members.data[m]) != 0 && recipe.weight(head, m) != 0.0f;
  std::fill(space->sum, space->sum + dim, 0.0f);
  for (size_t m = first; m < end; m++) {
    const float weight = recipe.weight(head, m);
    if (weight == 0.0f) continue;
    const size_t cell = plan.members.data[m];
    decode(tensor.type, tensor.slice(recipe.target->slots.data[cell], head), space->member, dim);
    if (turned) {
      hadamard(tensor.hadamard, space->member, dim);
      space->angles.set(layer, recipe.turn(row, head, cell));
      rotate(layer, space->angles, space->member);
    }
    for (size_t j = 0; j < dim; j++) space->sum[j] += weight * space->member[j];
  }
  if (turned) hadamard(tensor.hadamard, space->sum, dim);
  encode(tensor.type, space->sum, out, dim);
}

/// One channel of one head of a transposed tensor: all its computed slices.
void compute_channel(const Recipe &recipe, const Tensor &tensor, const SliceTable &table, size_t head, size_t j,
                     uint8_t *scratch) {
  const kvfold_plan &plan = *recipe.plan;
  const size_t before = table.computed_before(head), count = table.computed_before(head + 1) - before;
  const size_t bytes = tensor.element_bytes;
  const uint8_t *channel = tensor.channel(head * tensor.dim + j);
  uint8_t *out = scratch + (before * tensor.dim + j * count) * bytes;
  for (size_t row = 0; row < plan.rows; row++) {
    if (!SliceTable::is_computed(table.entry(head, row))) continue;
    const int64_t copied = recipe.copied_cell(row, head);
    if (copied >= 0) {
      std::memcpy(out, channel + recipe.target->slots.data[copied] * bytes, bytes);
      out += bytes;
      continue;
    }
    float sum = 0.0f;
    for (size_t m = plan.offsets.data[row]; m < plan.offsets.data[row + 1]; m++) {
      const float weight = recipe.weight(head, m);
      if (weight == 0.0f) continue;
      const size_t slot = recipe.target->slots.data[plan.members.data[m]];
      sum += weight * decode_element(tensor.type, channel + slot * bytes);
    }
    encode_element(tensor.type, sum, out);
    out += bytes;
  }
}

void compute_row_block(const Recipe &recipe, const Tensor &tensor, const SliceTable &table, size_t block,
                       Workspace *space, uint8_t *scratch) {
  const size_t end = std::min(table.rows(), (block + 1) * kRowsOfTask);
  for (size_t row = block * kRowsOfTask; row < end; row++) {
    for (size_t head = 0; head < tensor.heads; head++) {
      const uint32_t entry = table.entry(head, row);
      if (!SliceTable::is_computed(entry)) continue;
      uint8_t *out = scratch + SliceTable::index(entry) * tensor.slice_bytes;
      const int64_t copied = recipe.copied_cell(row, head);
      if (copied < 0) compute_row_slice(recipe, tensor, row, head, space, out);
      else std::memcpy(out, tensor.slice(recipe.target->slots.data[copied], head), tensor.slice_bytes);
    }
  }
}

}  // namespace

kvfold_status compute_slices(const Fold &fold, uint32_t index, TensorWork *work, const kvfold_options *options,
                             kvfold_error *error) {
  const Tensor tensor = fold.tensor(index);
  const Recipe recipe = fold.recipe(index);
  if (fold.table.computed_before(tensor.heads) == 0) return KVFOLD_OK;
  std::vector<Workspace> spaces(options->threads);
  for (Workspace &space : spaces) {
    if (!space.allocate(tensor.dim)) return fail_memory(error, "the buffers of the threads");
  }
  std::atomic<bool> stop{false};
  const size_t channels = static_cast<size_t>(tensor.heads) * tensor.dim;
  const size_t units = tensor.transposed ? channels : fold.table.rows();
  const size_t unit = tensor.transposed ? kChannelsOfTask : kRowsOfTask;
  parallel_for(options->threads, (units + unit - 1) / unit, [&](size_t task, uint32_t worker) {
    if (stop.load(std::memory_order_relaxed)) return;
    if (cancelled(options)) return stop.store(true, std::memory_order_relaxed);
    if (!tensor.transposed)
      return compute_row_block(recipe, tensor, fold.table, task, &spaces[worker], work->scratch.data());
    for (size_t c = task * unit; c < std::min(units, (task + 1) * unit); c++)
      compute_channel(recipe, tensor, fold.table, c / tensor.dim, c % tensor.dim, work->scratch.data());
  });
  return stop.load() ? fail_aborted(error) : KVFOLD_OK;
}

}  // namespace cpu
}  // namespace kvfold

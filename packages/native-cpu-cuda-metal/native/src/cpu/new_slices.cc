// Slices of a prepared fold before they are written, and values that a plan gives.
#include "cpu/new_slices.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/error.h"
#include "common/queries.h"
#include "cpu/quant.h"
#include "cpu/read.h"
#include "cpu/rope.h"

namespace kvfold {
namespace cpu {

uint8_t *NewSlices::element(size_t row, size_t head, size_t j) const {
  const size_t before = table.computed_before(head), count = table.computed_before(head + 1) - before;
  const size_t index = SliceTable::index(table.entry(head, row)) - before;
  return work.scratch.data() + (before * tensor.dim + j * count + index) * tensor.element_bytes;
}

void NewSlices::load(size_t row, size_t head, float *out) const {
  const uint32_t entry = table.entry(head, row);
  if (!SliceTable::is_computed(entry)) return decode_slice(tensor, SliceTable::index(entry), head, out);
  if (!tensor.transposed)
    return decode(tensor.type, work.scratch.data() + SliceTable::index(entry) * tensor.slice_bytes, out, tensor.dim);
  for (size_t j = 0; j < tensor.dim; j++) out[j] = decode_element(tensor.type, element(row, head, j));
}

void NewSlices::store(size_t row, size_t head, const float *values) const {
  if (!tensor.transposed) {
    const size_t index = SliceTable::index(table.entry(head, row));
    return encode(tensor.type, values, work.scratch.data() + index * tensor.slice_bytes, tensor.dim);
  }
  for (size_t j = 0; j < tensor.dim; j++) encode_element(tensor.type, values[j], element(row, head, j));
}

bool NewSlices::can_hold(const float *values, uint8_t *bytes, float *decoded) const {
  encode(tensor.type, values, bytes, tensor.dim);
  decode(tensor.type, bytes, decoded, tensor.dim);
  return std::all_of(decoded, decoded + tensor.dim, [](float x) { return std::isfinite(x); });
}

kvfold_status store_given(Fold *fold, uint32_t layer, kvfold_error *error) {
  const kvfold_plan &plan = *fold->plan;
  const kvfold_memory &memory = *fold->target->memory;
  const float *given = plan.values->data.data;
  for (uint32_t l = 0; l < layer; l++) {
    for (uint32_t h = 0; h < memory.layers[l].kv_heads; h++)
      given += size_t{marked_rows(plan.values->given, *fold->target, plan, l, h)} * memory.layers[l].value_dim;
  }
  const uint32_t index = 2 * layer + KVFOLD_VALUES;
  const NewSlices slices{fold->tensor(index), fold->table, fold->tensors[index]};
  const size_t dim = slices.tensor.dim, max_heads = most_heads(memory);
  std::vector<float> value(dim), decoded(dim);
  std::vector<uint8_t> bytes(slices.tensor.slice_bytes);
  for (size_t head = 0; head < slices.tensor.heads; head++) {
    for (size_t row = 0; row < plan.rows; row++) {
      if (!is_marked(plan.values->given, plan, max_heads, layer, head, row)) continue;
      std::copy(given, given + dim, value.begin());
      given += dim;
      hadamard(slices.tensor.hadamard, value.data(), dim);
      if (!slices.can_hold(value.data(), bytes.data(), decoded.data()))
        return fail(error, KVFOLD_STATUS_PLAN_FIT,
                    "layer %u head %zu: the cache cannot hold the value given for row %zu",
                    layer, head, row);
      slices.store(row, head, value.data());
    }
  }
  return KVFOLD_OK;
}

}  // namespace cpu
}  // namespace kvfold

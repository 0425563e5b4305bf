// Which slices of a tensor a plan copies and which it computes.
#include "cpu/slices.h"

#include "common/queries.h"

namespace kvfold {
namespace cpu {

const float *Recipe::weights(size_t head) const {
  const kvfold_weights &of = kind == KVFOLD_KEYS ? plan->key_weights : plan->value_weights;
  size_t group = 0;
  if (of.scope == KVFOLD_SCOPE_LAYER) group = layer;
  if (of.scope == KVFOLD_SCOPE_HEAD) group = layer * max_heads + head;
  return of.data.data + group * plan->members.length;
}

int64_t Recipe::turn(size_t row, size_t head, size_t cell) const {
  if (kind != KVFOLD_KEYS || plan->key_frame != KVFOLD_FRAME_TARGET) return 0;
  if (target->memory->layers[layer].rope_pairing == KVFOLD_ROPE_NONE) return 0;
  return static_cast<int64_t>(plan->positions.data[row]) - source_position(*target, layer, head, cell);
}

int64_t Recipe::copied_cell(size_t row, size_t head) const {
  if (plan->layout == KVFOLD_COMPOSITE)
    return plan->members.data[(static_cast<size_t>(layer) * plan->kv_heads + head) * plan->rows + row];
  int64_t only = -1;
  for (size_t m = plan->offsets.data[row]; m < plan->offsets.data[row + 1]; m++) {
    const float w = weight(head, m);
    if (w == 0.0f) continue;
    if (w != 1.0f || only >= 0) return -1;
    only = plan->members.data[m];
  }
  if (only >= 0 && turn(row, head, static_cast<size_t>(only)) != 0) return -1;
  return only;
}

bool Recipe::is_changed(size_t row, size_t head) const {
  const kvfold_u8_span *mask = kind == KVFOLD_VALUES ? changed_values(*plan) : nullptr;
  return mask != nullptr && is_marked(*mask, *plan, max_heads, layer, head, row);
}

bool SliceTable::allocate(size_t heads, size_t rows) {
  size_t entries = 0;
  rows_ = rows;
  return multiply(heads, rows, &entries) && entries < kComputed && entries_.allocate(entries) &&
         begin_.allocate(heads + 1);
}

void SliceTable::fill(const Recipe &recipe, const Tensor &tensor) {
  uint32_t computed = 0;
  for (size_t head = 0; head < tensor.heads; head++) {
    begin_[head] = computed;
    for (size_t row = 0; row < rows_; row++) {
      const int64_t cell = recipe.is_changed(row, head) ? -1 : recipe.copied_cell(row, head);
      entries_[head * rows_ + row] = cell < 0 ? (kComputed | computed++) : recipe.target->slots.data[cell];
    }
  }
  begin_[tensor.heads] = computed;
}

}  // namespace cpu
}  // namespace kvfold

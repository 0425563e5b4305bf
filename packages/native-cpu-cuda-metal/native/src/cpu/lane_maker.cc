// New rows of one head of a transposed tensor: sums from a list of slots and weights, then the copies.
#include "cpu/lane_maker.h"

#include <cstring>

namespace kvfold {
namespace cpu {

LaneMaker::LaneMaker(const Fold &fold, uint32_t index, size_t head, FoldSpace *space)
    : tensor_(fold.tensor(index)), head_(head), rows_(fold.plan->rows), space_(*space) {
  const kvfold_plan &plan = *fold.plan;
  const Recipe recipe = fold.recipe(index);
  const uint32_t *slots = fold.target->slots.data;
  uint32_t terms = 0;
  space->copies = 0;
  for (uint32_t row = 0; row < rows_; row++) {
    space->offsets[row] = terms;
    const int64_t copied = recipe.copied_cell(row, head);
    if (copied >= 0) {
      space->copy_row[space->copies] = row;
      space->copy_slot[space->copies++] = slots[copied];
      continue;
    }
    const float *weights = recipe.weights(head);
    for (size_t m = plan.offsets.data[row]; m < plan.offsets.data[row + 1]; m++) {
      if (weights[m] == 0.0f) continue;
      space->slots[terms] = slots[plan.members.data[m]];
      space->weights[terms++] = weights[m];
    }
  }
  space->offsets[rows_] = terms;
}

void LaneMaker::make(size_t j, uint8_t *out) const {
  const uint8_t *lane = tensor_.channel(head_ * tensor_.dim + j);
  const size_t bytes = tensor_.element_bytes;
  if (space_.copies < rows_)
    kernels().sum_lane(tensor_.type, lane, space_.offsets.data(), space_.slots.data(), space_.weights.data(), rows_,
                       out);
  for (size_t i = 0; i < space_.copies; i++)
    copy_element(out + space_.copy_row[i] * bytes, lane + space_.copy_slot[i] * bytes, bytes);
}

}  // namespace cpu
}  // namespace kvfold

// Sizes of the fits of one layer, and the memory that they work in.
#ifndef KVFOLD_METAL_FIT_SHAPE_H
#define KVFOLD_METAL_FIT_SHAPE_H

#include <algorithm>

#include "common/queries.h"
#include "metal/fold.h"
#include "metal/head_attention.h"
#include "metal/ridge.h"

namespace kvfold {
namespace metal {

struct FitShape {
  const Fold &fold;
  uint32_t layer;
  Tensor keys, values;
  uint32_t most_free = 0;        // of a head; 0: nothing to solve in this layer
  uint32_t rows = 0, fitting = 0;  // query rows
  bool outputs_known;

  FitShape(const Fold &of, uint32_t index)
      : fold(of), layer(index), keys(of.tensor(2 * index)), values(of.tensor(2 * index + 1)),
        outputs_known(of.target->outputs != nullptr && of.target->outputs[index].length != 0) {
    for (uint32_t h = 0; h < values.heads; h++)
      most_free = std::max(most_free, marked_rows(of.plan->fit->free, *of.target, *of.plan, index, h));
    if (most_free == 0) return;
    const kvfold_turn turn = turn_after(0);
    rows = kvfold_turned_rows(&turn);
    fitting = rows - rows / of.plan->fit->holdout;
  }

  kvfold_turn turn_after(int32_t last) const { return turn_of(*fold.target, *fold.plan->fit, layer, last); }
  /// Cells or rows whose keys and values are floats at the same time.
  uint64_t decoded() const { return outputs_known ? fold.plan->rows : fold.target->cells; }
  HeadShape over(uint64_t cells) const { return {rows, cells, keys.dim, values.dim}; }
  RidgeShape ridge(uint32_t free) const { return {rows, fitting, free, values.dim}; }

  /// At most 2^27 cells of 2^14 channels.
  uint64_t bytes() const {
    const uint64_t dims = uint64_t{keys.dim} + values.dim;
    return BlockBuffers::bytes(over(decoded())) + Ridge::bytes(ridge(most_free)) +
           sizeof(float) * (decoded() * dims + rows * uint64_t{keys.dim} + most_free * uint64_t{values.dim});
  }
};

}  // namespace metal
}  // namespace kvfold

#endif

// Computed slices of a fold, gathered as work for the GPU.
#ifndef KVFOLD_METAL_FOLD_COMPUTE_H
#define KVFOLD_METAL_FOLD_COMPUTE_H

#include "metal/fold.h"

namespace kvfold {
namespace metal {

/// Arrays of a plan and its target on the GPU, while a fold is prepared.
struct PlanBuffers {
  Buffer offsets, members, key_weights, value_weights, slots, row_positions, cell_positions;

  /// False when there is no memory.
  bool load(const kvfold_target &target, const kvfold_plan &plan);
};

/// Gathers what fills the scratch of a tensor; `fold.table` has been filled for it.
kvfold_status compute_slices(const Fold &fold, uint32_t index, const PlanBuffers &arrays, Work *work,
                             kvfold_error *error);

}  // namespace metal
}  // namespace kvfold

#endif

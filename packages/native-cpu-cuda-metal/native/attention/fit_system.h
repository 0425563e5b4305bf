// The least-squares system of a fit: weights of the free cells over the query rows, and what is missing.
//
// Query rows get slots: fitting rows first, judging rows after the next multiple of 48. Slots without a row are zero in
// everything and change nothing.
//
//   rows   0 1 2 3 4 5 6 7 (holdout 3: 2 and 5 judge)   slots  0 1 3 4 6 7 . . | 2 5 . .
#ifndef KVFOLD_ATTENTION_FIT_SYSTEM_H
#define KVFOLD_ATTENTION_FIT_SYSTEM_H

#include "block.h"
#include "gemm.h"

namespace kvfold {
namespace attention {

struct FitShape {
  size_t fitting, judging;  ///< query rows
  size_t first_judge;       ///< slot
  size_t slots;             ///< a multiple of kLanes
  size_t free, width, ld;   ///< unknown rows; value_dim padded to kPad, and as a row length
  bool dual;
  size_t unknowns, square_ld;  ///< side of the square system

  PackedLayout packed;
  uint64_t block_floats;
  size_t block_at, weights_at, missing_at, square_at, inverse_at, scratch_at, change_at, dual_at, step_at;
  Layout layout;
};

FitShape fit_shape(const kvfold_fit_input &input, uint32_t threads);

/// The query row of a fitting or judging index.
inline size_t query_of(const kvfold_fit_input &input, size_t index, bool judging) {
  if (judging) return (index + 1) * input.holdout - 1;
  return input.holdout == 0 ? index : index + index / (input.holdout - 1);
}

/// The slots that decide whether a fit is accepted.
inline size_t first_deciding(const FitShape &shape) { return shape.judging == 0 ? 0 : shape.first_judge; }

struct FitSystem {
  /// Primal: [slots] rows, free columns. Dual: [free] rows, slots as columns.
  Strips weights;
  /// O - A V, [slots, width].
  Dense missing;
};

/// Attends over the kept cells and fills both. False when stopped.
bool build_system(const Kernels &kernels, const kvfold_fit_input &input, const FitShape &shape, const Arena &arena,
                  const FitSystem &system, Parallel &parallel);

struct Solution {
  bool solved;
  double ridge;
  size_t guarded;
  Dense change;  ///< V' - V of the free cells [free, width]
};

/// Solves on the fitting slots and takes the answer off `missing` in the slots that decide.
Solution solve_system(const Kernels &kernels, const kvfold_fit_input &input, const FitShape &shape, const Arena &arena,
                      const FitSystem &system, Parallel &parallel);

}  // namespace attention
}  // namespace kvfold

#endif

// Slices of a prepared fold before they are written: what the cells will hold, as floats.
#ifndef KVFOLD_CPU_NEW_SLICES_H
#define KVFOLD_CPU_NEW_SLICES_H

#include "cpu/fold.h"

namespace kvfold {
namespace cpu {

/// The value side or the key side of one layer of a fold; `table` has been filled for it.
struct NewSlices {
  const Tensor tensor;
  const SliceTable &table;
  TensorWork &work;

  /// out: [dim], in the basis of the cache. From scratch, or from the cell that will be copied.
  void load(size_t row, size_t head, float *out) const;
  /// Replaces a computed slice. values: [dim], in the basis of the cache
  void store(size_t row, size_t head, const float *values) const;
  /// Whether the type of the cache can hold the values. `bytes`: [slice_bytes], `decoded`: [dim]
  bool can_hold(const float *values, uint8_t *bytes, float *decoded) const;

 private:
  /// Element j of a computed slice of a transposed tensor.
  uint8_t *element(size_t row, size_t head, size_t j) const;
};

/// Puts the values that the plan gives for a layer in the place of what its members make.
kvfold_status store_given(Fold *fold, uint32_t layer, kvfold_error *error);

}  // namespace cpu
}  // namespace kvfold

#endif

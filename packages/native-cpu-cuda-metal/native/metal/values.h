// Rows of floats that become slices of a fold's scratch: turned keys, given values, fitted values.
#ifndef KVFOLD_METAL_VALUES_H
#define KVFOLD_METAL_VALUES_H

#include "metal/fold.h"

namespace kvfold {
namespace metal {

/// The slices of one head that rows of floats go to.
class SliceStore {
 public:
  /// numbers: of the computed slices, one for each row
  bool load(const std::vector<uint32_t> &numbers, const Tensor &tensor);
  /// Room for bytes that are only tried.
  bool allocate_trial(const Tensor &tensor);
  /// Encodes rows [rows, dim], in the basis of the cache, into scratch; with `store` false, only tries.
  void encode(Work *work, const TensorWork &of, uint32_t before, uint32_t count, const Buffer &rows, bool store) const;
  /// After the work: the first row that the type of the cache cannot hold, or -1.
  int64_t first_unstorable() const;

 private:
  uint32_t rows_ = 0, chunks_ = 0;
  Buffer numbers_, unstorable_, trial_;
};

/// Puts the values that the plan gives for a layer in the place of what its members make. Finishes the work.
kvfold_status store_given(const Fold &fold, uint32_t layer, Work *work, kvfold_error *error);

}  // namespace metal
}  // namespace kvfold

#endif

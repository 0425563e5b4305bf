// Values that a plan gives or has solved, in double. Serial and obvious.
#ifndef KVFOLD_REFERENCE_VALUES_H
#define KVFOLD_REFERENCE_VALUES_H

#include <vector>

#include "kvfold/backend.h"

namespace kvfold {
namespace reference {

/// One layer of a fold: its new slices as bytes, [rows, heads] of either kind.
struct NewRows {
  const kvfold_target &target;
  const kvfold_plan &plan;
  uint32_t layer;
  const uint8_t *keys;
  uint8_t *values;
};

/// Query rows of one KV head. [rows, key_dim]
std::vector<float> turned_head(const kvfold_turn &turn, size_t head);
/// One head of all cells, keys out of their Hadamard basis, values as they lie. [cells, dim]
std::vector<float> head_of_cells(const kvfold_memory &memory, uint32_t layer, uint32_t kind,
                                 const kvfold_u32_span &slots, size_t head);

kvfold_status store_given(const NewRows &rows, kvfold_error *error);
/// Adds the outcomes of the layer's heads.
kvfold_status fit_layer(const NewRows &rows, const kvfold_options *options, std::vector<kvfold_fit_outcome> *outcomes,
                        kvfold_error *error);

}  // namespace reference
}  // namespace kvfold

#endif

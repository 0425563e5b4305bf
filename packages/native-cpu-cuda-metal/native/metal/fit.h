// Values of a fold that are solved for, next to the data.
#ifndef KVFOLD_METAL_FIT_H
#define KVFOLD_METAL_FIT_H

#include "metal/fold.h"

namespace kvfold {
namespace metal {

/// Whether the fits of all layers stay under the limit of memory. Allocates nothing.
kvfold_status check_fit_memory(const Fold &fold, const kvfold_options &options, kvfold_error *error);

/// Solves the free values of a layer, one head after another, and puts the accepted ones into scratch. `work` computes
/// both tensors of the layer and is finished; `fold->table` is that of the values.
kvfold_status fit_layer(Fold *fold, uint32_t layer, Work *work, const kvfold_options &options, kvfold_error *error);

}  // namespace metal
}  // namespace kvfold

#endif

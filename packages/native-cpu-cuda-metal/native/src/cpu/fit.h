// Values of a fold that are solved for, next to the data.
#ifndef KVFOLD_CPU_FIT_H
#define KVFOLD_CPU_FIT_H

#include "cpu/fold.h"

namespace kvfold {
namespace cpu {

/// Whether the fits of all layers stay under the limit of memory. Allocates nothing.
kvfold_status check_fit_memory(const Fold &fold, const kvfold_options &options, kvfold_error *error);

/// Solves the free values of a layer, one head after another, and puts the accepted ones into scratch. Both tensors of
/// the layer have been computed, and `fold->table` is that of its values.
kvfold_status fit_layer(Fold *fold, uint32_t layer, const kvfold_options &options, kvfold_error *error);

}  // namespace cpu
}  // namespace kvfold

#endif

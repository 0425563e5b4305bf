// Values of a fold that are solved for, on the device, a few KV heads at once.
#ifndef KVFOLD_CUDA_FIT_H
#define KVFOLD_CUDA_FIT_H

#include "cuda/fold.h"

namespace kvfold {
namespace cuda {

/// Solves the free values of all layers of a part and leaves the accepted ones in its stored slices; adds outcomes.
kvfold_status fit_part(Fold *fold, Part *part, const kvfold_options &options, kvfold_error *error);

}  // namespace cuda
}  // namespace kvfold

#endif

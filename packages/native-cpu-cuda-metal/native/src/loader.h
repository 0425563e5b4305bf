// The CUDA backend is a library of its own: found and loaded at run time, and only where a driver is.
#ifndef KVFOLD_LOADER_H
#define KVFOLD_LOADER_H

#include "kvfold/backend.h"

namespace kvfold {

/// What became of it. `backend` is NULL when there is none that can be used; `state` says why.
struct CudaLibrary {
  const kvfold_backend *backend;
  char state[512];
};

/// Looked for once: KVFOLD_CUDA_PATH, and then nothing else; otherwise kvfold_cuda.so beside this binary.
const CudaLibrary &cuda_library();

}  // namespace kvfold

#endif

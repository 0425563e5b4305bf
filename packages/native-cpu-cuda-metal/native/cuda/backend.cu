// The table of the CUDA backend, and the one symbol that this library exports.
#include "cuda/fold.h"

namespace kvfold {
namespace cuda {
namespace {

const kvfold_backend kBackend = {
    KVFOLD_BACKEND_ABI, sizeof(kvfold_backend), "cuda",    supports,     fold_prepare, fold_commit, fold_rollback,
    fold_free,          read_rows,              key_stats, turn_queries, attend,       fold_report, &kDeviceMemory,
};

}  // namespace
}  // namespace cuda
}  // namespace kvfold

#if defined(_WIN32)
#define KVFOLD_EXPORT __declspec(dllexport)
#else
#define KVFOLD_EXPORT __attribute__((visibility("default")))
#endif

extern "C" KVFOLD_EXPORT const kvfold_backend *kvfold_cuda_backend(void) { return &kvfold::cuda::kBackend; }

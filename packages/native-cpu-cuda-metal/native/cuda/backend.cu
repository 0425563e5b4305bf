// The table of the CUDA backend, and the one symbol that this library exports.
#include "cuda/fold.h"

namespace kvfold {
namespace cuda {

kvfold_status fold_commit(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error) {
  return Change::of(fold)->commit(options, error);
}

kvfold_status fold_save(kvfold_fold *fold, const kvfold_options *, kvfold_error *error) {
  return Change::of(fold)->save(error);
}

kvfold_status fold_rollback(kvfold_fold *fold, const kvfold_options *, kvfold_error *error) {
  return Change::of(fold)->rollback(error);
}

void fold_free(kvfold_fold *fold) { delete Change::of(fold); }

kvfold_fold_report fold_report(const kvfold_fold *fold) { return Change::of(fold)->report(); }

namespace {

const kvfold_backend kBackend = {
    KVFOLD_BACKEND_ABI, sizeof(kvfold_backend), "cuda",    supports,     fold_prepare, fold_commit, fold_rollback,
    fold_free,          read_rows,              key_stats, turn_queries, attend,       fold_report,  rope_prepare,
    fold_save,          &kDeviceMemory,
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

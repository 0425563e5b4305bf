// The table of the Metal backend.
#include "common/error.h"
#include "metal/fold.h"

#if !defined(KVFOLD_METAL_NAME)
#define KVFOLD_METAL_NAME "metal"
#endif

namespace kvfold {
namespace metal {

/// Every type and layout that the check lets pass, on a GPU that shares the memory of the CPU.
kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error) {
  if (kvfold_check_layer(layer, 0, error) != KVFOLD_OK) return KVFOLD_STATUS_UNSUPPORTED;
  return check_device(error);
}

const kvfold_backend kBackend = {
    KVFOLD_BACKEND_ABI, sizeof(kvfold_backend), KVFOLD_METAL_NAME, supports,     fold_prepare, fold_commit,
    fold_rollback,      fold_free,              read_rows,         key_stats,    turn_queries, attend,
    fold_report,
};

}  // namespace metal
}  // namespace kvfold

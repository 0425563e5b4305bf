// The table of the CPU backend.
#include "common/tensor.h"
#include "cpu/fold.h"

namespace kvfold {
namespace cpu {

/// Every type and layout that the check lets pass.
kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error) {
  return kvfold_check_layer(layer, 0, error) == KVFOLD_OK ? KVFOLD_OK : KVFOLD_STATUS_UNSUPPORTED;
}

const kvfold_backend kBackend = {
    KVFOLD_BACKEND_ABI, sizeof(kvfold_backend), "cpu", supports, fold_prepare, fold_commit, fold_rollback,
    fold_free,          read_rows,              key_stats, turn_queries, attend, fold_report, nullptr,
};

}  // namespace cpu
}  // namespace kvfold

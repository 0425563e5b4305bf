// The table of the CPU backend.
#include "common/tensor.h"
#include "cpu/fold.h"

namespace kvfold {
namespace cpu {
namespace {

kvfold_status commit(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error) {
  return Change::of(fold)->commit(options, error);
}

kvfold_status save(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error) {
  return Change::of(fold)->save(options, error);
}

kvfold_status rollback(kvfold_fold *fold, const kvfold_options *options, kvfold_error *) {
  Change::of(fold)->rollback(options);
  return KVFOLD_OK;
}

void free_change(kvfold_fold *fold) { delete Change::of(fold); }

kvfold_fold_report report(const kvfold_fold *fold) { return Change::of(fold)->report(); }

}  // namespace

/// Every type and layout that the check lets pass.
kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error) {
  return kvfold_check_layer(layer, 0, error) == KVFOLD_OK ? KVFOLD_OK : KVFOLD_STATUS_UNSUPPORTED;
}

const kvfold_backend kBackend = {
    KVFOLD_BACKEND_ABI, sizeof(kvfold_backend), "cpu", supports, fold_prepare, commit, rollback, free_change,
    read_rows,          key_stats,              turn_queries, attend, report,  rope_prepare, save,
    nullptr,
};

}  // namespace cpu
}  // namespace kvfold

// The table of the Metal backend.
#include "common/error.h"
#include "metal/fold.h"

#if !defined(KVFOLD_METAL_NAME)
#define KVFOLD_METAL_NAME "metal"
#endif

namespace kvfold {
namespace metal {

namespace {

kvfold_status save(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error) {
  try {
    return cpu::Change::of(fold)->save(options, error);
  } catch (...) {
    return fail_memory(error, "the undo log");
  }
}

kvfold_status commit(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error) {
  try {
    return cpu::Change::of(fold)->commit(options, error);
  } catch (...) {
    return fail_memory(error, "the commit");
  }
}

kvfold_status rollback(kvfold_fold *fold, const kvfold_options *options, kvfold_error *) {
  cpu::Change::of(fold)->rollback(options);
  return KVFOLD_OK;
}

void free_change(kvfold_fold *fold) { delete cpu::Change::of(fold); }

kvfold_fold_report report(const kvfold_fold *fold) { return cpu::Change::of(fold)->report(); }

}  // namespace

/// Every type and layout that the check lets pass, on a GPU that shares the memory of the CPU.
kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error) {
  if (kvfold_check_layer(layer, 0, error) != KVFOLD_OK) return KVFOLD_STATUS_UNSUPPORTED;
  return check_device(error);
}

const kvfold_backend kBackend = {
    KVFOLD_BACKEND_ABI, sizeof(kvfold_backend), KVFOLD_METAL_NAME, supports,     fold_prepare, commit, rollback,
    free_change,        read_rows,              key_stats,         turn_queries, attend,       report, rope_prepare,
    save,               nullptr,
};

}  // namespace metal
}  // namespace kvfold

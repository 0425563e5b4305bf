// The kernels that move bytes (copy.metal), by the unit in which they move them.
#ifndef KVFOLD_METAL_COPY_H
#define KVFOLD_METAL_COPY_H

#include "common/error.h"
#include "metal/device.h"

namespace kvfold {
namespace metal {

struct CopyUnit {
  uint32_t bytes;
  const char *save_rows, *write_rows, *save_slices, *write_slices;
};

/// The largest unit that divides all of some sizes and offsets, which are joined by |.
inline CopyUnit copy_unit(uint32_t sizes) {
  if (sizes % 16 == 0) return {16, "save_rows_16", "write_rows_16", "save_slices_16", "write_slices_16"};
  if (sizes % 4 == 0) return {4, "save_rows_4", "write_rows_4", "save_slices_4", "write_slices_4"};
  return {2, "save_rows_2", "write_rows_2", "save_slices_2", "write_slices_2"};
}

/// A point of the fault walk: what was gathered before it is done when it is passed. Without a walk it only waits its
/// turn.
inline kvfold_status reach(Work *work, const kvfold_options *options, const char *where, kvfold_error *error) {
  if (options->faults == nullptr) return KVFOLD_OK;
  if (kvfold_status status = work->finish(error)) return status;
  return fault_here(options) ? fail_fault(options, error, where) : KVFOLD_OK;
}

}  // namespace metal
}  // namespace kvfold

#endif

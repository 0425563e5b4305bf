// Rows of a layer as floats on the device; shared by reading, key statistics, attention and fits.
#ifndef KVFOLD_CUDA_READ_H
#define KVFOLD_CUDA_READ_H

#include "cuda/device.h"
#include "cuda/tables.h"

namespace kvfold {
namespace cuda {

/// One tensor outside of a fold.
TensorTable table_of(const kvfold_memory &memory, uint32_t layer, uint32_t kind, const double *frequencies);

/// How slots are read. Device pointers; positions and sources only when keys are turned back.
struct Reading {
  TensorTable tensor;
  const uint32_t *slots;     ///< [cells]
  const int32_t *positions;  ///< [cells], or NULL
  uint32_t cells;
  uint32_t undo_hadamard, unrotate;
};

/// out: [heads, cells, dim] of the heads [from, from + heads), on the device.
kvfold_status decode_rows(const Device &device, const Reading &reading, uint32_t from, uint32_t heads, float *out,
                          kvfold_error *error);

/// What a request to read needs on its device.
struct ReadBuffers {
  Device *device = nullptr;
  Buffer<uint32_t> slots;
  Buffer<int32_t> positions, sources;
  Buffer<double> frequencies;

  kvfold_status upload(const kvfold_read &read, Reading *reading, kvfold_error *error);
};

}  // namespace cuda
}  // namespace kvfold

#endif

// Sampled queries on the device, turned to positions after the context.
#ifndef KVFOLD_CUDA_TURN_H
#define KVFOLD_CUDA_TURN_H

#include "cuda/device.h"

namespace kvfold {
namespace cuda {

/// The queries of a layer on their way to rows; keeps what the kernel reads.
class QueryRows {
 public:
  /// `order`: which query row comes at each place, [rows] of a head, or empty: as they are.
  kvfold_status upload(const kvfold_turn &turn, Device *device, const std::vector<uint32_t> &order,
                       kvfold_error *error);
  /// out: [heads, rows, key_dim] of the heads [from, from + heads), turned to positions after `last`.
  kvfold_status turn(int32_t last, uint32_t from, uint32_t heads, float *out, kvfold_error *error) const;

 private:
  Device *device_ = nullptr;
  kvfold_turn turn_{};
  uint32_t rows_ = 0;
  Buffer<uint16_t> queries_;
  Buffer<int32_t> positions_;
  Buffer<double> frequencies_;
  Buffer<uint32_t> order_;
};

}  // namespace cuda
}  // namespace kvfold

#endif

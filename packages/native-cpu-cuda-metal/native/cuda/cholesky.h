// Blocked Cholesky factors of a few systems at once, with the guards of the CPU (native/attention/cholesky.h).
#ifndef KVFOLD_CUDA_CHOLESKY_H
#define KVFOLD_CUDA_CHOLESKY_H

#include "cuda/gemm.h"

namespace kvfold {
namespace cuda {

/// Unknowns of a step.
constexpr uint32_t kStep = 32;

/// One square system, in device memory.
struct System {
  float *matrix;    ///< [n, ld]: lower triangle in, with the ridge; L out
  float *inverse;   ///< [n rounded up to kStep, kStep]: inverses of the diagonal blocks
  float *diagonal;  ///< [n]: before elimination
  float *right;     ///< [n, width]: right side in, solution out
  uint32_t n, ld, width;
};

struct Systems {
  System items[kBatch];
  uint32_t count;
};

struct Ridge {
  double ridge;  ///< lambda trace / free
  double least;  ///< no pivot below
  double trace;
};

/// What the ridge of each system is made of.
struct Ridges {
  double lambda;
  const uint32_t *free;    ///< unknowns of the fit that it belongs to [count], on the host
  const uint8_t *factors;  ///< how many times it counts for each free row [count, ld], on the device
  uint32_t ld;
};

/// ridges: [count] on the device. Systems of the dual form have one ridge for all rows.
kvfold_status add_ridges(const Device &device, const Systems &systems, const Ridges &of, Ridge *ridges,
                         kvfold_error *error);
kvfold_status factor(const Device &device, const Systems &systems, const Ridge *ridges, kvfold_error *error);
kvfold_status solve(const Device &device, const Systems &systems, kvfold_error *error);

}  // namespace cuda
}  // namespace kvfold

#endif

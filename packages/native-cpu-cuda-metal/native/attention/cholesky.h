// Blocked Cholesky factor with a guarded diagonal, and the solution of a system with it.
#ifndef KVFOLD_ATTENTION_CHOLESKY_H
#define KVFOLD_ATTENTION_CHOLESKY_H

#include "gemm.h"

namespace kvfold {
namespace attention {

/// Unknowns of a step: a multiple of kPad. Work on the diagonal grows with it, traffic of the trailing update falls.
constexpr size_t kStep = 32;

/// A pivot below this share of its own diagonal entry is raised to it: sums of thousands of f32 products carry no more
/// (sqrt(4096) * 2^-24 for the entry, as much again for the elimination). The effect is that much more ridge on that
/// one unknown. Rounding moves pivot j in proportion to diagonal entry j, not to the largest one (Demmel, LAPACK
/// working note 14), so cells that get little attention are not swamped by a sink.
constexpr double kPivotFloor = 3.814697265625e-06;  // 2^-18

/// No pivot stays below this share of the mean diagonal: an unknown that no equation sees stays near 0.
constexpr double kPivotLeast = 9.313225746154785e-10;  // 2^-30

/// Everything a solve needs. L has the inverses of its diagonal blocks aside.
struct Factor {
  float *matrix;   ///< [n, ld]: lower triangle in, off-diagonal blocks of L out
  size_t n, ld;    ///< ld at least round_up(n, kPad)
  float *inverse;  ///< out: [round_up(n, kStep) / kStep, kStep, kStep], row by row, zero where there is no unknown
  float *scratch;  ///< factor_scratch(n) floats
};

size_t factor_scratch(size_t n);

/// Returns how many pivots were raised.
size_t cholesky_factor(const Kernels &kernels, const Factor &factor, Parallel &parallel);

/// B = (L L^T)^-1 B. B: [n, width]; `scratch`: kStep * width floats.
void cholesky_solve(const Kernels &kernels, const Factor &factor, Dense b, float *scratch);

}  // namespace attention
}  // namespace kvfold

#endif

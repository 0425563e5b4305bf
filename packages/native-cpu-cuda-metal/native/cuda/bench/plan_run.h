// A whole fold that plans by attention: turn the sample, attend in every layer, keep the cells that get most, fit their
// values, commit.
#ifndef KVFOLD_CUDA_BENCH_PLAN_RUN_H
#define KVFOLD_CUDA_BENCH_PLAN_RUN_H

#include "cuda/bench/measure.h"

namespace kvfold {
namespace cuda {
namespace bench {

struct PlanShape {
  uint32_t layers, heads, dim, cells, query_heads, max_rows, horizon;
};

/// Four cells into one; a quarter of the fitting queries are free rows, the most that a plan may ask for.
Line time_plan(const PlanShape &shape, uint32_t runs);

}  // namespace bench
}  // namespace cuda
}  // namespace kvfold

#endif

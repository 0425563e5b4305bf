// Builds and solves the system of a fit.
#include "fit_system.h"

#include <cstring>

#include "cholesky.h"

namespace kvfold {
namespace attention {

FitShape fit_shape(const kvfold_fit_input &input, uint32_t threads) {
  FitShape shape = {};
  shape.judging = input.holdout == 0 ? 0 : input.rows / input.holdout;
  shape.fitting = input.rows - shape.judging;
  shape.first_judge = round_up(shape.fitting, kLanes);
  shape.slots = shape.first_judge + round_up(shape.judging, kLanes);
  shape.free = static_cast<size_t>(input.free.length);
  shape.width = round_up(input.value_dim, kPad);
  shape.dual = input.form == KVFOLD_FIT_SMALLER ? shape.fitting < shape.free : input.form == KVFOLD_FIT_DUAL;
  shape.unknowns = shape.dual ? shape.fitting : shape.free;
  Layout &layout = shape.layout;
  if (!block_floats(input.kept, input.key_dim, input.value_dim, &shape.block_floats)) shape.block_floats = UINT64_MAX;
  // a tile of 64 x 64 floats beside every block, for weights on their way into a panel
  shape.block_floats += kLanes * kLanes;
  shape.block_at = layout.floats(shape.block_floats, threads);
  shape.weights_at = layout.floats(shape.slots, shape.dual ? shape.free : round_up(shape.free, kLanes));
  shape.missing_at = layout.floats(shape.slots, shape.width);
  const size_t side = round_up(shape.unknowns, kLanes);
  shape.square_at = layout.floats(side, side);
  shape.inverse_at = layout.floats(side, kStep);
  shape.scratch_at = layout.floats(factor_scratch(shape.unknowns));
  shape.change_at = layout.floats(shape.free, shape.width);
  shape.dual_at = layout.floats(shape.dual ? shape.first_judge : 0, shape.width);
  shape.step_at = layout.floats(kStep, shape.width);
  return shape;
}

namespace {

struct Build {
  const Kernels &kernels;
  const kvfold_fit_input &input;
  const FitShape &shape;
  const Arena &arena;
  const FitSystem &system;
  Parallel &parallel;

  void run(size_t index, uint32_t worker) const {
    const size_t slot = index * kLanes;
    const bool judging = slot >= shape.first_judge;
    const size_t from = judging ? slot - shape.first_judge : slot, all = judging ? shape.judging : shape.fitting;
    const size_t lanes = all - from < kLanes ? all - from : kLanes;
    uint32_t order[kLanes] = {0};
    for (size_t lane = 0; lane < lanes; lane++) {
      order[lane] = static_cast<uint32_t>(query_of(input, from + lane, judging));
    }
    float *memory = arena.at(shape.block_at) + worker * static_cast<size_t>(shape.block_floats);
    const Block block = block_in(memory + kLanes * kLanes, input.kept, input.key_dim, input.value_dim);
    const Head head = {input.queries.data, input.keys.data, input.bias.length > 0 ? input.bias.data : nullptr,
                       input.values.data, input.kept, input.key_dim, input.value_dim};
    if (!attend_block(kernels, head, order, 0, lanes, block, parallel)) return;
    take_missing(block, slot, order, lanes);
    if (shape.dual) take_rows(block, index);
    else take_columns(block, slot, memory);
  }

  /// Targets minus outputs, row by row.
  void take_missing(const Block &block, size_t slot, const uint32_t *order, size_t lanes) const {
    const size_t dim = input.value_dim;
    kernels.transpose(block.outputs, kLanes, dim, lanes, block.rows, dim);
    for (size_t lane = 0; lane < kLanes; lane++) {
      float *to = system.missing.data + (slot + lane) * system.missing.ld;
      std::memset(to, 0, system.missing.width * sizeof(float));
      if (lane >= lanes) continue;
      const float *target = input.targets.data + order[lane] * dim;
      for (size_t i = 0; i < dim; i++) to[i] = target[i] - block.rows[lane * dim + i];
    }
  }

  void weights_of(const Block &block, size_t f, float *to) const {
    const size_t cell = input.free.data[f];
    kernels.scale_lanes(block.weights + cell * kLanes, block.factors + cell / kTile * kLanes, to);
  }

  /// Dual: slots are columns already.
  void take_rows(const Block &block, size_t panel) const {
    for (size_t f = 0; f < shape.free; f++) weights_of(block, f, system.weights.panel(panel) + f * kLanes);
  }

  /// Primal: 64 free cells at a time, turned.
  void take_columns(const Block &block, size_t slot, float *tile) const {
    for (size_t p = 0; p < system.weights.count(); p++) {
      const size_t width = system.weights.width(p);
      for (size_t f = 0; f < width; f++) weights_of(block, p * kLanes + f, tile + f * kLanes);
      std::memset(tile + width * kLanes, 0, (kLanes - width) * kLanes * sizeof(float));
      kernels.transpose(tile, kLanes, kLanes, kLanes, system.weights.panel(p) + slot * kLanes, kLanes);
    }
  }
};

/// Adds the ridge; 0 when there is no weight at all.
double add_ridge(double lambda, const FitShape &shape, float *square, size_t ld) {
  double trace = 0;
  for (size_t i = 0; i < shape.unknowns; i++) trace += square[i * ld + i];
  const double ridge = lambda * trace / static_cast<double>(shape.free);
  for (size_t i = 0; i < shape.unknowns; i++) square[i * ld + i] += static_cast<float>(ridge);
  return trace > 0 ? ridge : -1;
}

}  // namespace

bool build_system(const Kernels &kernels, const kvfold_fit_input &input, const FitShape &shape, const Arena &arena,
                  const FitSystem &system, Parallel &parallel) {
  const Build build = {kernels, input, shape, arena, system, parallel};
  parallel.for_each(shape.slots / kLanes, [&build](size_t index, uint32_t worker) { build.run(index, worker); });
  return !parallel.stopped();
}

Solution solve_system(const Kernels &kernels, double lambda, const FitShape &shape, const Arena &arena,
                      const FitSystem &system, Parallel &parallel) {
  const Dense change = {arena.at(shape.change_at), shape.width, shape.width};
  Solution none = {false, 0, 0, change};
  if (shape.unknowns == 0 || shape.free == 0) return none;
  const size_t ld = round_up(shape.unknowns, kLanes);
  float *square = arena.at(shape.square_at), *step = arena.at(shape.step_at);
  Panels fitting = system.weights;
  if (shape.dual) fitting.columns = shape.fitting;
  const size_t rows = shape.dual ? shape.free : shape.first_judge;
  gram(kernels, fitting, rows, {square, ld, ld}, parallel);
  if (parallel.stopped()) return none;
  const double ridge = add_ridge(lambda, shape, square, ld);
  if (ridge < 0) return none;
  const Factor factor = {square, shape.unknowns, ld, arena.at(shape.inverse_at), arena.at(shape.scratch_at)};
  const size_t guarded = cholesky_factor(kernels, factor, parallel);
  if (parallel.stopped()) return none;
  if (shape.dual) {
    const Dense dual = {arena.at(shape.dual_at), shape.width, shape.width};
    std::memcpy(dual.data, system.missing.data, shape.first_judge * shape.width * sizeof(float));
    cholesky_solve(kernels, factor, dual, step);
    multiply(kernels, fitting, dual, change, Finish::store, parallel);
    multiply_transposed(kernels, system.weights, rows, change, system.missing, Finish::subtract, parallel);
  } else {
    multiply_transposed(kernels, fitting, rows, system.missing, change, Finish::store, parallel);
    cholesky_solve(kernels, factor, change, step);
    multiply(kernels, system.weights, change, system.missing, Finish::subtract, parallel);
  }
  return {true, ridge, guarded, change};
}

}  // namespace attention
}  // namespace kvfold

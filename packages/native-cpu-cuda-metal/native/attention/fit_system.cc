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
  shape.ld = dense_ld(shape.width);
  shape.dual = input.form == KVFOLD_FIT_SMALLER ? shape.fitting < shape.free && input.ridge_factors.length == 0
                                                : input.form == KVFOLD_FIT_DUAL;
  shape.unknowns = shape.dual ? shape.fitting : shape.free;
  Layout &layout = shape.layout;
  if (!block_floats(input.kept, input.key_dim, input.value_dim, &shape.block_floats)) shape.block_floats = UINT64_MAX;
  // a tile beside every block, for weights on their way into a strip
  shape.block_floats += kLanes * kLanes;
  shape.block_at = layout.floats(shape.block_floats, threads);
  shape.packed = packed_layout(input.kept, input.key_dim, input.value_dim, input.bias.length > 0, &layout);
  shape.weights_at = layout.floats(shape.slots, shape.dual ? shape.free : strip_columns(shape.free));
  shape.missing_at = layout.floats(shape.slots, shape.ld);
  const size_t side = strip_columns(shape.unknowns);
  shape.square_ld = dense_ld(side);
  shape.square_at = layout.floats(side, shape.square_ld);
  shape.inverse_at = layout.floats(round_up(shape.unknowns, kStep), kStep);
  shape.scratch_at = layout.floats(factor_scratch(shape.unknowns));
  shape.change_at = layout.floats(shape.free, shape.ld);
  shape.dual_at = layout.floats(shape.dual ? shape.first_judge : 0, shape.ld);
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
  Head head;

  /// The query rows of 48 slots.
  Rows rows_of(size_t slot) const {
    const bool judging = slot >= shape.first_judge;
    const size_t from = judging ? slot - shape.first_judge : slot, all = judging ? shape.judging : shape.fitting;
    Rows rows = {};
    rows.count = all - from < kLanes ? all - from : kLanes;
    for (size_t lane = 0; lane < rows.count; lane++) rows.index[lane] = query_of(input, from + lane, judging);
    return rows;
  }

  void run(size_t task, uint32_t worker) const {
    float *memory = arena.at(shape.block_at) + worker * static_cast<size_t>(shape.block_floats);
    const size_t first = task * kInStep * kLanes, left = (shape.slots - first) / kLanes;
    const size_t count = left < kInStep ? left : kInStep;
    Rows rows[kInStep] = {};
    Block blocks[kInStep] = {};
    for (size_t i = 0; i < count; i++) {
      blocks[i] = block_in(memory + kLanes * kLanes, input.kept, input.key_dim, input.value_dim, i);
      rows[i] = rows_of(first + i * kLanes);
    }
    if (!attend_blocks(kernels, head, rows, blocks, count, parallel)) return;
    for (size_t i = 0; i < count; i++) {
      const size_t slot = first + i * kLanes;
      take_missing(blocks[i], slot, rows[i]);
      if (shape.dual) take_rows(blocks[i], slot);
      else take_columns(blocks[i], slot, memory);
    }
  }

  /// Targets minus outputs, row by row.
  void take_missing(const Block &block, size_t slot, const Rows &rows) const {
    const size_t dim = input.value_dim;
    kernels.transpose(block.outputs, kLanes, dim, rows.count, block.rows, dim);
    for (size_t lane = 0; lane < kLanes; lane++) {
      float *to = system.missing.data + (slot + lane) * system.missing.ld;
      std::memset(to, 0, system.missing.ld * sizeof(float));
      if (lane >= rows.count) continue;
      const float *target = input.targets.data + rows.index[lane] * dim;
      for (size_t i = 0; i < dim; i++) to[i] = target[i] - block.rows[lane * dim + i];
    }
  }

  /// One strip of the lanes of a free cell.
  void weights_of(const Block &block, size_t f, size_t lane, float *to) const {
    const size_t cell = input.free.data[f], tile = cell / kTile, strip = kernels.strip;
    kernels.scale(block.tile(tile) + lane * kTile + (cell - tile * kTile) * strip, block.factors + tile * kLanes + lane,
                  to, strip);
  }

  /// Dual: slots are columns already.
  void take_rows(const Block &block, size_t slot) const {
    for (size_t lane = 0; lane < kLanes; lane += kernels.strip)
      for (size_t f = 0; f < shape.free; f++)
        weights_of(block, f, lane, system.weights.at((slot + lane) / kernels.strip, f));
  }

  /// Primal: a strip of free cells at a time, turned.
  void take_columns(const Block &block, size_t slot, float *tile) const {
    const size_t strip = kernels.strip;
    for (size_t s = 0; s < system.weights.count(); s++) {
      const size_t width = system.weights.width(s);
      std::memset(tile + width * strip, 0, (strip - width) * strip * sizeof(float));
      for (size_t lane = 0; lane < kLanes; lane += strip) {
        for (size_t f = 0; f < width; f++) weights_of(block, s * strip + f, lane, tile + f * strip);
        kernels.transpose(tile, strip, strip, strip, system.weights.at(s, slot + lane), strip);
      }
    }
  }
};

/// Adds the ridge; -1 when there is no weight at all.
double add_ridge(const kvfold_fit_input &input, const FitShape &shape, float *square, size_t ld) {
  double trace = 0;
  for (size_t i = 0; i < shape.unknowns; i++) trace += square[i * ld + i];
  const double ridge = input.lambda * trace / static_cast<double>(shape.free);
  for (size_t i = 0; i < shape.unknowns; i++) {
    const double factor = input.ridge_factors.length > 0 ? input.ridge_factors.data[i] : 1;
    square[i * ld + i] += static_cast<float>(ridge * factor);
  }
  return trace > 0 ? ridge : -1;
}

}  // namespace

bool build_system(const Kernels &kernels, const kvfold_fit_input &input, const FitShape &shape, const Arena &arena,
                  const FitSystem &system, Parallel &parallel) {
  const PlainHead plain = {input.keys.data, input.values.data, input.bias.length > 0 ? input.bias.data : nullptr,
                           input.kept, input.key_dim, input.value_dim};
  const Head head = {input.queries.data, pack_head(kernels, plain, shape.packed, arena, parallel), input.kept,
                     input.key_dim, input.value_dim};
  const Build build = {kernels, input, shape, arena, system, parallel, head};
  const size_t blocks = shape.slots / kLanes;
  parallel.for_each((blocks + kInStep - 1) / kInStep,
                    [&build](size_t task, uint32_t worker) { build.run(task, worker); });
  return !parallel.stopped();
}

Solution solve_system(const Kernels &kernels, const kvfold_fit_input &input, const FitShape &shape, const Arena &arena,
                      const FitSystem &system, Parallel &parallel) {
  const Dense change = {arena.at(shape.change_at), shape.ld, shape.width};
  Solution none = {false, 0, 0, change};
  if (shape.unknowns == 0 || shape.free == 0) return none;
  const size_t ld = shape.square_ld;
  float *square = arena.at(shape.square_at), *step = arena.at(shape.step_at);
  Strips fitting = system.weights;
  if (shape.dual) fitting.columns = shape.fitting;
  const size_t rows = shape.dual ? shape.free : shape.first_judge;
  gram(kernels, fitting, rows, {square, ld, ld}, parallel);
  if (parallel.stopped()) return none;
  const double ridge = add_ridge(input, shape, square, ld);
  if (ridge < 0) return none;
  const Factor factor = {square, shape.unknowns, ld, arena.at(shape.inverse_at), arena.at(shape.scratch_at)};
  const size_t guarded = cholesky_factor(kernels, factor, parallel);
  if (parallel.stopped()) return none;
  // the slots that decide, as rows or as columns
  const size_t first = first_deciding(shape), deciding = shape.slots - first;
  Strips decide = system.weights;
  decide.data = shape.dual ? decide.at(first / kernels.strip, 0) : decide.at(0, first);
  const Dense left = {system.missing.data + first * shape.ld, shape.ld, shape.width};
  if (shape.dual) {
    const Dense dual = {arena.at(shape.dual_at), shape.ld, shape.width};
    std::memcpy(dual.data, system.missing.data, shape.first_judge * shape.ld * sizeof(float));
    cholesky_solve(kernels, factor, dual, step);
    multiply(kernels, fitting, rows, dual, change, Finish::store, parallel);
    decide.columns = deciding;
    multiply_transposed(kernels, decide, rows, change, left, Finish::subtract, parallel);
  } else {
    multiply_transposed(kernels, fitting, rows, system.missing, change, Finish::store, parallel);
    cholesky_solve(kernels, factor, change, step);
    multiply(kernels, decide, deciding, change, left, Finish::subtract, parallel);
  }
  return {true, ridge, guarded, change};
}

}  // namespace attention
}  // namespace kvfold

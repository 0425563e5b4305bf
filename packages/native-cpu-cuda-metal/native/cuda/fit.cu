// Fits of a part, layer by layer, as many KV heads at once as the limit of memory allows.
//
//     cells  k v (as they lie)     + queries after the last cell  ->  targets O            [query rows, value_dim]
//     rows   k v (as they will)    + queries after the last row   ->  A of the free rows, E = O - A V; solved; judged
//
// Query rows are ordered: those that fit first, then those that judge. Values stay in the basis of the cache.
#include "cuda/fit.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention.h"
#include "cuda/fit_kernels.h"
#include "cuda/fit_layer.h"
#include "cuda/read.h"

namespace kvfold {
namespace cuda {

void LayerFit::find_free() {
  const kvfold_plan &plan = *fold.plan;
  free.resize(keys().heads);
  for (uint32_t h = 0; h < keys().heads; h++) {
    free[h].find(*fold.target, plan, layer(), h);
    most_free = std::max(most_free, free_of(h));
  }
  if (most_free == 0) return;
  const kvfold_turn queries_of = turn();
  rows = kvfold_turned_rows(&queries_of);
  judging = rows / plan.fit->holdout;
  known = fold.target->outputs != nullptr && fold.target->outputs[layer()].length != 0;
}

uint64_t LayerFit::bytes(uint32_t count) const {
  const uint64_t dims = uint64_t{keys().dim} + values().dim, width = values().dim;
  const uint64_t floats = rows * (uint64_t{keys().dim} + 2 * width) + decoded() * dims + uint64_t{rows} * ld() +
                          uint64_t{side()} * (side() + kStep + 1 + width) + uint64_t{ld()} * (width + 1);
  const Heads widest = heads(count, decoded());
  return count * (floats * sizeof(float) + uint64_t{ld()} * (sizeof(uint32_t) + 1)) + SoftmaxSpace::bytes(widest);
}

kvfold_status LayerFit::reserve(uint32_t count, kvfold_error *error) {
  const size_t width = values().dim, n = count;
  const auto floats = [&](Buffer<float> *buffer, size_t of_head) {
    return buffer->reserve(device(), n * of_head, "the space of a fit", error);
  };
  const struct {
    Buffer<float> *buffer;
    size_t of_head;
  } all[] = {{&space.queries, size_t{rows} * keys().dim},
             {&space.targets, size_t{rows} * width},
             {&space.raw, known ? size_t{rows} * width : 0},
             {&space.keys, size_t{decoded()} * keys().dim},
             {&space.values, size_t{decoded()} * width},
             {&space.weights, size_t{rows} * ld()},
             {&space.square, size_t{side()} * side()},
             {&space.inverse, size_t{side()} * kStep},
             {&space.diagonal, side()},
             {&space.right, size_t{side()} * width},
             {&space.change, size_t{ld()} * width}};
  for (const auto &one : all) {
    if (kvfold_status status = floats(one.buffer, one.of_head)) return status;
  }
  if (kvfold_status status = space.cells.reserve(device(), n * ld(), "free rows", error)) return status;
  if (kvfold_status status = space.factors.reserve(device(), n * ld(), "free rows", error)) return status;
  if (kvfold_status status = space.counts.reserve(device(), n, "free rows", error)) return status;
  if (kvfold_status status = space.bad.reserve(device(), n, "free rows", error)) return status;
  if (kvfold_status status = space.squares.reserve(device(), kNumbers * n, "sums", error)) return status;
  if (kvfold_status status = space.ridges.reserve(device(), n, "sums", error)) return status;
  return space.softmax.reserve(device(), heads(count, decoded()), error);
}

/// What all heads of the layer read.
kvfold_status LayerFit::start(kvfold_error *error) {
  std::vector<uint32_t> order;
  const uint32_t holdout = fold.plan->fit->holdout;
  for (uint32_t i = 0; i < rows; i++) {
    if (i % holdout != holdout - 1) order.push_back(i);
  }
  for (uint32_t i = holdout - 1; i < rows; i += holdout) order.push_back(i);
  const kvfold_target &target = *fold.target;
  if (kvfold_status status = check_bias(fold.plan->bias, error)) return status;
  if (kvfold_status status = check_bias(target.bias, error)) return status;
  if (kvfold_status status = queries.upload(turn(), device(), order, error)) return status;
  if (kvfold_status status = space.order.upload(device(), order.data(), order.size(), "the order", error))
    return status;
  if (kvfold_status status = space.slots.upload(device(), target.slots.data, target.slots.length, "slots", error))
    return status;
  if (kvfold_status status = space.bias.upload(device(), target.bias.data, target.bias.length, "bias", error))
    return status;
  if (kvfold_status status =
          space.row_bias.upload(device(), fold.plan->bias.data, fold.plan->bias.length, "bias", error))
    return status;
  return device()->wait(error);  // `order` goes
}

/// O: as given, or attended to over all cells with the bias that they have.
kvfold_status LayerFit::find_targets(uint32_t from, uint32_t count, kvfold_error *error) {
  const kvfold_target &target = *fold.target;
  const cudaStream_t stream = device()->stream();
  if (known) {
    const size_t of_head = size_t{rows} * values().dim;
    if (kvfold_status status = device()->upload(space.raw.data(), target.outputs[layer()].data + from * of_head,
                                                count * of_head * sizeof(float), error))
      return status;
    const dim3 grid(ceil_div(rows, kSliceWarps), count);
    return check(launch(take_targets, grid, kSliceWarps * kWarp, stream, space.raw.data(), space.order.data(), rows,
                        values().dim, values().hadamard, space.targets.data()),
                 "targets", error);
  }
  Reading reading{keys(), space.slots.data(), nullptr, cells(), 1, 0};
  if (kvfold_status status = queries.turn(target.positions.data[cells() - 1], from, count, space.queries.data(), error))
    return status;
  if (kvfold_status status = decode_rows(*device(), reading, from, count, space.keys.data(), error)) return status;
  reading.tensor = values();
  reading.undo_hadamard = 0;
  if (kvfold_status status = decode_rows(*device(), reading, from, count, space.values.data(), error)) return status;
  Heads all = heads(count, cells());
  all.bias = target.bias.length == 0 ? nullptr : space.bias.data();
  if (kvfold_status status = check_numbers(device(), all, "cells", error)) return status;
  Wanted wanted{};
  wanted.outputs = space.targets.data();
  return attend_heads(*device(), all, space.softmax, wanted, options, error);
}

kvfold_status LayerFit::square(const float *numbers, uint32_t count, uint32_t which, kvfold_error *error) {
  double *out = space.squares.data() + size_t{which} * 2 * count;
  return check(launch(square_rows, dim3(2, count), kSquareThreads, device()->stream(), numbers, rows, fitting(),
                      values().dim, out),
               "sums of squares", error);
}

/// Weights of the free rows, and in the place of the targets what is missing.
kvfold_status LayerFit::build(uint32_t from, uint32_t count, kvfold_error *error) {
  const kvfold_plan &plan = *fold.plan;
  const cudaStream_t stream = device()->stream();
  std::vector<uint32_t> rows_of(size_t{count} * ld(), 0), counts(count);
  std::vector<uint8_t> factors_of(rows_of.size(), 1);
  for (uint32_t h = 0; h < count; h++) {
    const FreeRows &own = free[from + h];
    counts[h] = free_of(from + h);
    std::copy(own.rows.begin(), own.rows.end(), rows_of.begin() + static_cast<ptrdiff_t>(h) * ld());
    std::copy(own.factors.begin(), own.factors.end(), factors_of.begin() + static_cast<ptrdiff_t>(h) * ld());
  }
  const std::vector<uint32_t> none(count, kNone);
  if (kvfold_status status = device()->upload(space.cells.data(), rows_of.data(), rows_of.size() * 4, error))
    return status;
  if (kvfold_status status = device()->upload(space.factors.data(), factors_of.data(), factors_of.size(), error))
    return status;
  if (kvfold_status status = device()->upload(space.counts.data(), counts.data(), counts.size() * 4, error))
    return status;
  if (kvfold_status status = device()->upload(space.bad.data(), none.data(), none.size() * 4, error)) return status;
  if (kvfold_status status = square(space.targets.data(), count, 0, error)) return status;
  if (kvfold_status status =
          queries.turn(plan.positions.data[plan.rows - 1], from, count, space.queries.data(), error))
    return status;
  const dim3 grid(ceil_div(kept(), kSliceWarps), count);
  for (uint32_t kind : {KVFOLD_KEYS, KVFOLD_VALUES}) {
    const TensorTable &tensor = kind == KVFOLD_KEYS ? keys() : values();
    float *out = kind == KVFOLD_KEYS ? space.keys.data() : space.values.data();
    const cudaError_t code = launch(new_rows, grid, kSliceWarps * kWarp, stream, tensor, part.plan, from, out);
    if (kvfold_status status = check(code, "the rows of a fit", error)) return status;
  }
  Heads all = heads(count, kept());
  all.bias = plan.bias.length == 0 ? nullptr : space.row_bias.data();
  if (kvfold_status status = check_numbers(device(), all, "rows", error)) return status;  // waits: the vectors may go
  Wanted wanted{};
  wanted.outputs = space.targets.data();
  wanted.subtract = true;
  wanted.chosen = space.weights.data();
  wanted.cells = space.cells.data();
  wanted.chosen_counts = space.counts.data();
  wanted.chosen_ld = ld();
  if (kvfold_status status = attend_heads(*device(), all, space.softmax, wanted, options, error)) return status;
  return square(space.targets.data(), count, 1, error);
}

static double relative(double error, double size) {
  if (size > 0) return std::sqrt(error / size);
  return error > 0 ? std::numeric_limits<double>::infinity() : 0;
}

/// Stores the solved values, and takes back those of heads whose judges found no gain or whose type cannot hold them.
kvfold_status LayerFit::judge(uint32_t from, uint32_t count, kvfold_error *error) {
  const dim3 grid(ceil_div(most_free, kSliceWarps), count);
  const cudaError_t code = launch(store_fitted, grid, kSliceWarps * kWarp, device()->stream(), values(), part.plan,
                                  from, space.values.data(), space.change.data(), space.cells.data(),
                                  space.counts.data(), ld(), space.bad.data());
  if (kvfold_status status = check(code, "storing values", error)) return status;
  std::vector<double> squares(size_t{kNumbers} * count);
  std::vector<uint32_t> bad(count);
  std::vector<Ridge> ridges(count);
  if (kvfold_status status =
          device()->download(squares.data(), space.squares.data(), squares.size() * sizeof(double), error))
    return status;
  if (kvfold_status status = device()->download(bad.data(), space.bad.data(), count * sizeof(uint32_t), error))
    return status;
  if (kvfold_status status = device()->download(ridges.data(), space.ridges.data(), count * sizeof(Ridge), error))
    return status;
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  for (uint32_t h = 0; h < count; h++) {
    const uint32_t head = from + h, f = free_of(head);
    kvfold_fit_outcome outcome = {layer(), head, unknown, unknown, 0, f};
    // holdout is at least 2, and there are more query rows than that: somebody judges
    const double target = squares[2 * h + 1], before = squares[2 * (count + h) + 1];
    const double after = squares[2 * (2 * count + h) + 1];
    if (f > 0) {
      outcome.before = relative(before, target);
      outcome.accepted = ridges[h].trace > 0 && after < before && bad[h] == kNone ? 1 : 0;
      outcome.after = outcome.accepted != 0 ? relative(after, target) : outcome.before;
    }
    fold.fits.push_back(outcome);
    if (outcome.accepted != 0) continue;
    const size_t index = static_cast<size_t>(values().stored_index - part.stored_index.data());
    std::fill_n(part.stored_host.begin() + static_cast<ptrdiff_t>(index + size_t{head} * kept()), kept(), kNone);
  }
  return KVFOLD_OK;
}

kvfold_status LayerFit::run(uint32_t from, uint32_t count, kvfold_error *error) {
  if (kvfold_status status = find_targets(from, count, error)) return status;
  if (kvfold_status status = build(from, count, error)) return status;
  if (cancelled(&options)) return fail_aborted(error);
  if (kvfold_status status = solve_heads(from, count, error)) return status;
  return judge(from, count, error);
}

namespace {

/// The most heads at once that stay under the limit of memory; 0, with the reason, when not even one does.
uint32_t heads_within(const LayerFit &fit, uint64_t *bytes, kvfold_error *error) {
  const uint64_t limit = fit.options.memory_limit;
  uint32_t count = std::min(fit.keys().heads, kBatch);
  while (limit != 0 && count > 1 && fit.bytes(count) > limit) count = (count + 1) / 2;
  *bytes = fit.bytes(count);
  if (limit == 0 || *bytes <= limit) return count;
  fail(error, KVFOLD_STATUS_PLAN_LIMIT, "attention needs %llu bytes to work in, the limit is %llu",
       static_cast<unsigned long long>(*bytes), static_cast<unsigned long long>(limit));
  return 0;
}

kvfold_status fit_layer(LayerFit *fit, kvfold_error *error) {
  fit->find_free();
  if (fit->most_free > KVFOLD_ATTENTION_MAX_FREE)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%u free cells: at most %u", fit->most_free, KVFOLD_ATTENTION_MAX_FREE);
  uint64_t bytes = 0;
  const uint32_t all = fit->keys().heads, count = fit->most_free == 0 ? all : heads_within(*fit, &bytes, error);
  if (count == 0) return error->status;
  fit->fold.working_bytes = std::max(fit->fold.working_bytes, bytes);
  if (fit->most_free > 0) {
    if (kvfold_status status = fit->reserve(count, error)) return status;
    if (kvfold_status status = fit->start(error)) return status;
  }
  const double unknown = std::numeric_limits<double>::quiet_NaN();
  for (uint32_t from = 0; from < all; from += count) {
    const uint32_t now = std::min(count, all - from);
    for (uint32_t head = from; head < from + now; head++) {
      if (cancelled(&fit->options)) return fail_aborted(error);
      if (fault_here(&fit->options)) return fail_fault(&fit->options, error, "before a head was fitted");
      if (fit->most_free == 0) fit->fold.fits.push_back({fit->layer(), head, unknown, unknown, 0, 0});
    }
    if (fit->most_free == 0) continue;
    if (kvfold_status status = fit->run(from, now, error)) return status;
  }
  return KVFOLD_OK;
}

}  // namespace

kvfold_status fit_part(Fold *fold, Part *part, const kvfold_options &options, kvfold_error *error) {
  Space space;
  // the numbers of the stored slices, all of them for now
  if (kvfold_status status = part->device->upload(part->stored_index.data(), part->stored_host.data(),
                                                  part->stored_host.size() * sizeof(uint32_t), error))
    return status;
  if (kvfold_status status = part->device->wait(error)) return status;
  for (size_t i = 0; i < part->tables.size(); i += 2) {
    LayerFit fit{*fold, *part, i, options, space, {}, 0, 0, 0, false, {}};
    if (kvfold_status status = fit_layer(&fit, error)) return status;
  }
  return KVFOLD_OK;
}

}  // namespace cuda
}  // namespace kvfold

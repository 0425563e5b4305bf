// attend, top-k, fit and commit of a whole cache, timed by the clock of the host.
#include "cuda/bench/plan_run.h"

#include <numeric>

#include "cuda/bench/cache.h"
#include "cuda/fold.h"

namespace kvfold {
namespace cuda {
namespace bench {
namespace {

/// Random f16 queries of all layers, as if sampled at the end of the cells.
struct Sample {
  std::vector<int32_t> positions;
  std::vector<std::vector<uint16_t>> rows;
  std::vector<kvfold_query_layer> layers;
  kvfold_query_sample sample{};

  explicit Sample(const PlanShape &shape) : rows(shape.layers) {
    const uint32_t samples = shape.max_rows / (shape.query_heads / shape.heads);
    std::mt19937 random(11);
    for (uint32_t i = 0; i < samples; i++) positions.push_back(static_cast<int32_t>(shape.cells - samples + i));
    for (std::vector<uint16_t> &layer : rows) {
      layer.resize(size_t{samples} * shape.query_heads * shape.dim);
      for (uint16_t &half : layer) {
        const uint32_t bits = random();
        half = static_cast<uint16_t>((bits & 0x8000u) | (0x3800u + (bits & 0x7ffu)));  // 0.5 to 2
      }
      layers.push_back({shape.query_heads, 1 / std::sqrt(static_cast<double>(shape.dim)), {layer.data(), layer.size()}});
    }
    sample = {{positions.data(), positions.size()}, layers.data(), shape.layers};
  }
};

struct PlanRun {
  const PlanShape &shape;
  const Cache &cache;
  const Sample &sample;
  const kvfold_options options{1, nullptr, nullptr, nullptr, uint64_t{1} << 30};
  std::vector<uint32_t> slots{};
  std::vector<std::vector<float>> outputs{};
  std::vector<float> scores{};  // [cells]
  double attending = 0, choosing = 0, fitting = 0, committing = 0;
  uint32_t accepted = 0, free_rows = 0;
  uint64_t working_bytes = 0;

  /// Sums what every layer and head gives each cell; keeps the outputs.
  void attend_all() {
    const size_t cells = shape.cells, numbers = shape.heads * cells;
    std::vector<float> statistics(3 * numbers), queries(size_t{shape.heads} * shape.max_rows * shape.dim);
    scores.assign(cells, 0);
    outputs.assign(shape.layers, std::vector<float>(queries.size()));
    for (uint32_t l = 0; l < shape.layers; l++) {
      kvfold_error error{};
      const kvfold_turn turn{&cache.memory().layers[l], sample.layers[l],        sample.sample.positions,
                             static_cast<int32_t>(shape.cells - 1), shape.horizon, shape.max_rows};
      need(turn_queries(&turn, &options, queries.data(), &error), error);
      const kvfold_attention request{&cache.memory(), l, {slots.data(), slots.size()}, shape.max_rows,
                                     {queries.data(), queries.size()}, {nullptr, 0}};
      kvfold_attention_result result{statistics.data(), statistics.data() + numbers, statistics.data() + 2 * numbers,
                                     outputs[l].data(), 0};
      need(attend(&request, &options, &result, &error), error);
      working_bytes = std::max(working_bytes, result.working_bytes);
      for (size_t h = 0; h < shape.heads; h++) {
        for (size_t c = 0; c < cells; c++) scores[c] += result.rms[h * cells + c];
      }
    }
  }

  std::unique_ptr<Fold4> choose() {
    std::vector<uint32_t> order(shape.cells);
    std::iota(order.begin(), order.end(), 0u);
    const uint32_t rows = shape.cells / 4;
    std::nth_element(order.begin(), order.begin() + rows, order.end(),
                     [this](uint32_t a, uint32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
    order.resize(rows);
    std::sort(order.begin(), order.end());
    auto fold = std::make_unique<Fold4>();
    fold->slots = slots;
    fold->positions.resize(shape.cells);
    std::iota(fold->positions.begin(), fold->positions.end(), 0);
    for (uint32_t row = 0; row < rows; row++) {
      add_row(fold.get(), order[row], 1, 1);
      fold->destinations.push_back(row);
    }
    fold->offsets.push_back(rows);
    const uint32_t fit_rows = shape.max_rows - shape.max_rows / 4;
    free_rows = std::min(rows, fit_rows / 4);
    fold->free.assign(size_t{shape.layers} * shape.heads * rows, 0);
    for (size_t head = 0; head < size_t{shape.layers} * shape.heads; head++) {
      for (uint32_t i = 0; i < free_rows; i++) fold->free[head * rows + size_t{i} * rows / free_rows] = 1;
    }
    fold->fit = {{fold->free.data(), fold->free.size()}, 0.01, shape.horizon, shape.max_rows, 4};
    fold->plan.fit = &fold->fit;
    fold->target.queries = &sample.sample;
    fold->bind(cache);
    return fold;
  }

  void run() {
    const double start = now();
    attend_all();
    const double attended = now();
    const auto fold = choose();
    std::vector<kvfold_f32_span> known;
    for (const std::vector<float> &layer : outputs) known.push_back({layer.data(), layer.size()});
    fold->target.outputs = known.data();
    const double chosen = now();
    kvfold_error error{};
    kvfold_fold *prepared = nullptr;
    need(fold_prepare(&fold->target, &fold->plan, &options, &prepared, &error), error);
    const double fitted = now();
    need(fold_commit(prepared, &options, &error), error);
    const double end = now();
    need(fold_rollback(prepared, &options, &error), error);
    const kvfold_fold_report report = fold_report(prepared);
    working_bytes = std::max(working_bytes, report.working_bytes);
    accepted = 0;
    for (uint64_t i = 0; i < report.fit_count; i++) accepted += report.fits[i].accepted;
    fold_free(prepared);
    attending = attended - start;
    choosing = chosen - attended;
    fitting = fitted - chosen;
    committing = end - fitted;
  }
};

}  // namespace

Line time_plan(const PlanShape &shape, uint32_t runs) {
  const Cache cache(CacheShape{shape.layers, shape.heads, shape.dim, shape.cells, KVFOLD_F16, false});
  const Sample sample(shape);
  PlanRun run{shape, cache, sample};
  for (uint32_t c = 0; c < shape.cells; c++) run.slots.push_back(c);
  std::vector<double> whole, attending, choosing, fitting, committing;
  for (uint32_t i = 0; i < runs + 1; i++) {
    run.run();
    if (i == 0) continue;  // the first run warms up
    attending.push_back(run.attending);
    choosing.push_back(run.choosing);
    fitting.push_back(run.fitting);
    committing.push_back(run.committing);
    whole.push_back(run.attending + run.choosing + run.fitting + run.committing);
  }
  // 2 operations for each channel of keys and values and each pair of query row and cell, scores once
  const double products = 4.0 * shape.layers * shape.heads * shape.max_rows * shape.cells * shape.dim;
  return {"attend, top-k, fit, commit",
          {{"s", median(whole)},
           {"attend s", median(attending)},
           {"choose s", median(choosing)},
           {"fit s", median(fitting)},
           {"commit s", median(committing)},
           {"attend TFLOP/s", products / median(attending) / 1e12},
           {"free rows a head", static_cast<double>(run.free_rows)},
           {"accepted heads", static_cast<double>(run.accepted)},
           {"working MiB", static_cast<double>(run.working_bytes) / (1u << 20)}}};
}

}  // namespace bench
}  // namespace cuda
}  // namespace kvfold

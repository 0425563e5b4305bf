// Times of the CUDA backend as ratios to the device's own copy bandwidth, medians of interleaved runs.
//
//   cuda_bench [--small] [--runs N] [--only TEXT] [--json FILE]
//
// Folds: 32,768 cells of 32 layers x 8 heads x 128 channels, four cells into one. `useful` counts every byte that the
// fold has to read plus every byte that it has to write; without the undo log, and with it, which reads and writes each
// destination row once more. 256 pairs: prepare and commit together, by the clock of the host.
#include <cstring>
#include <numeric>

#include "cuda/bench/cache.h"
#include "cuda/bench/measure.h"
#include "cuda/bench/plan_run.h"
#include "cuda/fold.h"

namespace kvfold {
namespace cuda {
namespace bench {
namespace {

struct Settings {
  bool small = false;
  uint32_t runs = 11;
  const char *json = nullptr;
  const char *only = "";  ///< lines whose name has this in it

  bool wants(const char *name) const { return std::strstr(name, only) != nullptr; }
};

struct Case {
  const char *name;
  Kind kind;
  int32_t type;
  bool transposed;
};

constexpr Case kFolds[] = {{"fold evict f16", Kind::evict, KVFOLD_F16, false},
                           {"fold merge f16", Kind::merge, KVFOLD_F16, false},
                           {"fold merge turned f16", Kind::turn, KVFOLD_F16, false},
                           {"fold composite f16", Kind::composite, KVFOLD_F16, false},
                           {"fold evict f16 transposed V", Kind::evict, KVFOLD_F16, true},
                           {"fold merge f16 transposed V", Kind::merge, KVFOLD_F16, true},
                           {"fold evict q8_0", Kind::evict, KVFOLD_Q8_0, false},
                           {"fold merge q8_0", Kind::merge, KVFOLD_Q8_0, false},
                           {"fold merge f32", Kind::merge, KVFOLD_F32, false}};

constexpr char kPairs[] = "256 pairs of a 7B cache", kRope[] = "rope shift f16", kPlan[] = "attend, top-k, fit, commit";

/// Bytes read plus written: members that do not lie at their destination already, and rows that are not there yet.
double useful_bytes(const Cache &cache, const Fold4 &fold) {
  const double row = static_cast<double>(cache.row_bytes()) * 2 * cache.shape().layers;
  if (fold.plan.layout == KVFOLD_COMPOSITE) return 2 * row * fold.plan.rows;
  return row * (static_cast<double>(fold.plan.members.length) + fold.plan.rows);
}

Line time_fold(const Case &one, const Settings &settings, CopyRate *copy) {
  const CacheShape shape = settings.small ? CacheShape{2, 2, 64, 64, one.type, one.transposed}
                                          : CacheShape{32, 8, 128, 32768, one.type, one.transposed};
  const Cache cache(shape);
  const auto fold = make_fold(cache, one.kind);
  const kvfold_options options{1, nullptr, nullptr, nullptr, 0};
  kvfold_error error{};
  need(kvfold_check_target(&fold->target, &error), error);
  need(kvfold_check_plan(&fold->target, &fold->plan, &error), error);
  kvfold_fold *prepared = nullptr;
  const double start = now();
  need(fold_prepare(&fold->target, &fold->plan, &options, &prepared, &error), error);
  const double prepare = now() - start;
  std::vector<double> save, write, commit;
  copy->forget();
  time_commits(true);
  for (uint32_t run = 0; run < settings.runs + 2; run++) {
    need(copy->sample(&error), error);
    const double begin = now();
    need(fold_commit(prepared, &options, &error), error);
    const double end = now();
    need(fold_rollback(prepared, &options, &error), error);
    if (run < 2) continue;  // the first runs warm up
    save.push_back(static_cast<const Fold *>(Change::of(prepared))->save_milliseconds);
    write.push_back(static_cast<const Fold *>(Change::of(prepared))->write_milliseconds);
    commit.push_back((end - begin) * 1e3);
  }
  time_commits(false);
  const double log = 2.0 * static_cast<double>(cache.row_bytes()) * 2 * shape.layers * fold->plan.rows;
  const double useful = useful_bytes(cache, *fold), rate = copy->rate() / 1e3;  // bytes a millisecond
  fold_free(prepared);
  return {one.name,
          {{"useful", useful / median(write) / rate},
           {"with log", (useful + log) / (median(write) + median(save)) / rate},
           {"whole commit", useful / median(commit) / rate},
           {"write ms", median(write)},
           {"save ms", median(save)},
           {"commit ms", median(commit)},
           {"prepare ms", prepare * 1e3},
           {"copy GB/s", copy->rate() / 1e9}}};
}

Line time_pairs(const Settings &settings) {
  const CacheShape shape = settings.small ? CacheShape{2, 2, 64, 600, KVFOLD_F16, false}
                                          : CacheShape{32, 32, 128, 4096, KVFOLD_F16, false};
  const Cache cache(shape);
  const auto fold = make_fold(cache, Kind::pairs);
  const kvfold_options options{1, nullptr, nullptr, nullptr, 0};
  std::vector<double> whole, commit;
  for (uint32_t run = 0; run < settings.runs + 3; run++) {
    kvfold_error error{};
    kvfold_fold *prepared = nullptr;
    const double begin = now();
    need(fold_prepare(&fold->target, &fold->plan, &options, &prepared, &error), error);
    const double middle = now();
    need(fold_commit(prepared, &options, &error), error);
    const double end = now();
    need(fold_rollback(prepared, &options, &error), error);
    fold_free(prepared);
    if (run < 3) continue;
    whole.push_back((end - begin) * 1e3);
    commit.push_back((end - middle) * 1e3);
  }
  return {kPairs, {{"ms", median(whole)}, {"commit ms", median(commit)}}};
}

/// All keys of a cache turned by one distance. Prepare reads them and writes the turned ones; the commit exchanges both.
Line time_rope(const Settings &settings, CopyRate *copy) {
  const CacheShape shape = settings.small ? CacheShape{2, 2, 64, 64, KVFOLD_F16, false}
                                          : CacheShape{32, 8, 128, 32768, KVFOLD_F16, false};
  const Cache cache(shape);
  std::vector<uint32_t> slots(shape.cells);
  std::iota(slots.begin(), slots.end(), 0u);
  const std::vector<int32_t> deltas(shape.cells, -1024);
  const kvfold_rope rope{&cache.memory(), {slots.data(), slots.size()}, {deltas.data(), deltas.size()}, nullptr};
  const kvfold_options options{1, nullptr, nullptr, nullptr, 0};
  kvfold_error error{};
  need(kvfold_check_rope(&rope, &error), error);
  std::vector<double> prepare, commit;
  copy->forget();
  for (uint32_t run = 0; run < settings.runs + 3; run++) {
    kvfold_fold *prepared = nullptr;
    need(copy->sample(&error), error);
    const double begin = now();
    need(rope_prepare(&rope, &options, &prepared, &error), error);
    const double middle = now();
    need(fold_commit(prepared, &options, &error), error);
    const double end = now();
    need(fold_rollback(prepared, &options, &error), error);
    fold_free(prepared);
    if (run < 3) continue;
    prepare.push_back((middle - begin) * 1e3);
    commit.push_back((end - middle) * 1e3);
  }
  const double keys = static_cast<double>(cache.row_bytes()) * shape.layers * shape.cells;
  const double rate = copy->rate() / 1e3;  // bytes a millisecond
  return {kRope,
          {{"prepare", 2 * keys / median(prepare) / rate},
           {"commit", 4 * keys / median(commit) / rate},
           {"prepare ms", median(prepare)},
           {"commit ms", median(commit)}}};
}

Settings settings_of(int count, char **arguments) {
  Settings settings;
  for (int i = 1; i < count; i++) {
    const bool more = i + 1 < count;
    if (std::strcmp(arguments[i], "--small") == 0) settings.small = true;
    else if (std::strcmp(arguments[i], "--runs") == 0 && more) settings.runs = static_cast<uint32_t>(std::atoi(arguments[++i]));
    else if (std::strcmp(arguments[i], "--only") == 0 && more) settings.only = arguments[++i];
    else if (std::strcmp(arguments[i], "--json") == 0 && more) settings.json = arguments[++i];
    else std::exit((std::printf("cuda_bench [--small] [--runs N] [--only TEXT] [--json FILE]\n"), 2));
  }
  return settings;
}

int run(const Settings &settings) {
  kvfold_error error{};
  uint32_t devices = 0;
  need(kDeviceMemory.count(&devices, &error), error);
  if (devices == 0) return std::printf("%s\n", error.message), 3;
  char name[256] = "";
  need(kDeviceMemory.describe(0, name, sizeof name, &error), error);
  CopyRate copy;
  need(copy.prepare(settings.small ? 1 << 20 : size_t{1} << 30, &error), error);
  std::vector<Line> lines;
  for (const Case &one : kFolds) {
    if (settings.wants(one.name)) lines.push_back(time_fold(one, settings, &copy));
  }
  if (settings.wants(kPairs)) lines.push_back(time_pairs(settings));
  if (settings.wants(kRope)) lines.push_back(time_rope(settings, &copy));
  const PlanShape shape = settings.small ? PlanShape{2, 2, 64, 128, 4, 96, 16}
                                         : PlanShape{32, 8, 128, 32768, 32, 2048, 4096};
  if (settings.wants(kPlan)) lines.push_back(time_plan(shape, settings.small ? 2 : settings.runs));
  std::printf("%s, %u runs\n", name, settings.runs);
  print(lines);
  if (settings.json != nullptr && !write_json(settings.json, name, lines))
    return std::printf("cannot write %s\n", settings.json), 1;
  return 0;
}

}  // namespace
}  // namespace bench
}  // namespace cuda
}  // namespace kvfold

int main(int count, char **arguments) {
  return kvfold::cuda::bench::run(kvfold::cuda::bench::settings_of(count, arguments));
}

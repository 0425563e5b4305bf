// Times the operations of a backend on one cache.
#include "bench.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "case.h"
#include "common/error.h"
#include "common/tensor.h"
#include "yardstick.h"

namespace kvfold {
namespace bench {
namespace {

constexpr uint32_t kMostRuns = 1000;
constexpr uint32_t kMostRatio = 1024;
constexpr uint32_t kFewestQueryRows = 8;  // a fifth judges, and a free row needs four that do not

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

kvfold_status check(const Request &request, kvfold_error *error) {
  const Shape &shape = request.shape;
  const auto within = [&](const char *name, uint32_t value, uint32_t most) {
    if (value >= 1 && value <= most) return KVFOLD_OK;
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%s is %u, 1 to %u is possible", name, value, most);
  };
  if (request.backend == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "no backend given");
  if (provider_of(request.op) == nullptr)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "there is no operation \"%.40s\"", request.op.c_str());
  if (kvfold_status status = within("layers", shape.layers, KVFOLD_MAX_LAYERS)) return status;
  if (kvfold_status status = within("KV heads", shape.kv_heads, KVFOLD_MAX_HEADS)) return status;
  if (kvfold_status status = within("head size", shape.head_dim, KVFOLD_MAX_HEAD_DIM)) return status;
  if (kvfold_status status = within("cells", request.cells, KVFOLD_MAX_CELLS)) return status;
  if (kvfold_status status = within("threads", request.threads, KVFOLD_MAX_THREADS)) return status;
  if (kvfold_status status = within("runs", request.runs, kMostRuns)) return status;
  if (kvfold_status status = within("query rows", request.query_rows, KVFOLD_MAX_FIT_ROWS)) return status;
  if (request.query_rows < kFewestQueryRows)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "%u query rows are too few to fit with, %u is the least",
                request.query_rows, kFewestQueryRows);
  if (kvfold_status status = within("ratio", request.ratio, kMostRatio)) return status;
  if (request.cells < request.ratio)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "a ratio of %u leaves no cell of %u", request.ratio, request.cells);
  return KVFOLD_OK;
}

/// "" or why there is nothing to time.
std::string reason_to_skip(const Request &request, const Provider &provider, uint32_t layers) {
  if (const char *lacks = provider.lacks(*request.backend); lacks[0] != 0) return lacks;
  if (request.transposed && !provider.transposed) return "the layout of the values makes no difference";
  if (request.transposed && is_block_type(request.type)) return "transposed values of a block type do not exist";
  const uint64_t bytes = Cache::bytes_of(request, layers);
  if (bytes == 0) return "the type does not fit the heads, or the cache not the address space";
  const double needed = provider.held * static_cast<double>(bytes);
  if (request.memory_limit != 0 && needed > static_cast<double>(request.memory_limit)) {
    char text[96];
    std::snprintf(text, sizeof text, "needs %.1f GiB, the limit is %.1f GiB", std::ldexp(needed, -30),
                  std::ldexp(static_cast<double>(request.memory_limit), -30));
    return text;
  }
  return "";
}

void finish(bool compute, Row *row) {
  const auto bounds = std::minmax_element(row->seconds.begin(), row->seconds.end());
  row->median = median(row->seconds);
  row->least = *bounds.first;
  row->most = *bounds.second;
  const double work = compute ? row->facts.operations : row->facts.bytes;
  std::vector<double> ratios;
  for (size_t i = 0; i < row->seconds.size(); i++) ratios.push_back(work / row->seconds[i] / row->yardsticks[i]);
  row->ratio = median(ratios);
}

kvfold_status time_cases(const Request &request, const Provider &provider, const Cases &cases, Result *result,
                         kvfold_error *error) {
  MemoryYardstick memory;
  if (!memory.allocate()) return fail_memory(error, "the buffers of the copy");
  result->compute = provider.compute;
  result->copy = memory.copy(request.threads);
  result->read = memory.read(request.threads);
  result->peak = measure_peak(request.threads);
  for (const auto &one : cases) result->rows.push_back({one->facts(), {}, {}, 0, 0, 0, 0});
  const kvfold_options options = options_of(request);
  double yardstick = 0;
  std::vector<double> yardsticks;  // of all cases
  for (uint32_t round = 0; round <= request.runs; round++) {
    for (size_t i = 0; i < cases.size(); i++) {
      if (cancelled(&options)) return fail_aborted(error);
      const size_t turn = (i + round) % cases.size();  // nobody always runs after the same other one
      if (!provider.compute) yardstick = memory.copy(request.threads);
      else if (i == 0) yardstick = measure_peak(request.threads);
      Stopwatch watch;
      if (kvfold_status status = cases[turn]->run(&watch, error)) return status;
      if (round == 0) continue;
      result->rows[turn].seconds.push_back(std::max(watch.seconds(), 1e-9));
      result->rows[turn].yardsticks.push_back(yardstick);
      yardsticks.push_back(yardstick);
    }
  }
  (provider.compute ? result->peak : result->copy) = median(yardsticks);
  for (Row &row : result->rows) finish(provider.compute, &row);
  return KVFOLD_OK;
}

void keep_wanted(const std::vector<std::string> &variants, Cases *cases) {
  if (variants.empty()) return;
  const auto unwanted = [&](const std::unique_ptr<Case> &one) {
    return std::find(variants.begin(), variants.end(), one->facts().variant) == variants.end();
  };
  cases->erase(std::remove_if(cases->begin(), cases->end(), unwanted), cases->end());
}

kvfold_status run_checked(const Request &request, Result *result, kvfold_error *error) {
  const Provider &provider = *provider_of(request.op);
  const uint32_t layers = provider.one_layer ? 1 : request.shape.layers;
  result->skipped = reason_to_skip(request, provider, layers);
  if (!result->skipped.empty()) return KVFOLD_OK;
  Cache cache;
  if (kvfold_status status = cache.make(request, layers, error)) return status;
  kvfold_error reason{};
  if (request.backend->supports(&cache.layer(), &reason) != KVFOLD_OK) {
    result->skipped = reason.message;
    return KVFOLD_OK;
  }
  Cases cases;
  if (kvfold_status status = provider.cases(request, &cache, &cases, error)) return status;
  keep_wanted(request.variants, &cases);
  if (!cases.empty()) return time_cases(request, provider, cases, result, error);
  result->skipped = "there is no such variant";
  return KVFOLD_OK;
}

}  // namespace

kvfold_options options_of(const Request &request) {
  return {request.threads, request.cancelled, request.cancelled_data, nullptr, request.memory_limit};
}

kvfold_status run(const Request &request, Result *result, kvfold_error *error) {
  *result = Result{};
  try {
    if (kvfold_status status = check(request, error)) return status;
    return run_checked(request, result, error);
  } catch (...) {
    return fail_memory(error, "the benchmark");
  }
}

}  // namespace bench
}  // namespace kvfold

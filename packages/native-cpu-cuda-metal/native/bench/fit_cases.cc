// fit: the prepare of a composite fold of one layer whose values are solved for; outputs over all cells are given.
#include <algorithm>

#include "plans.h"
#include "providers.h"
#include "queries.h"

namespace kvfold {
namespace bench {
namespace {

constexpr uint32_t kHoldout = 5;

class FitCase : public Case {
 public:
  FitCase(const Request &request, const Cache &cache) : request_(request), cache_(cache) {}

  /// As many free rows as the query rows can bear, spread over the head; the others are read-only.
  kvfold_status make(kvfold_error *error) {
    const uint32_t heads = cache_.layer().kv_heads;
    queries_.make(cache_, request_.query_rows);
    if (kvfold_status status = attention_.make(request_, cache_, queries_, true, error)) return status;
    const kvfold_options options = options_of(request_);
    if (kvfold_status status =
            request_.backend->attend(&attention_.request, &options, &attention_.result, error))
      return status;
    planned_.composite(cache_, request_.ratio);
    kvfold_plan &plan = planned_.plan;
    fitting_ = request_.query_rows - request_.query_rows / kHoldout;
    free_ = std::min(plan.rows, std::max(1u, fitting_ / 4));
    mask_.assign(size_t{heads} * plan.rows, 0);
    for (uint32_t h = 0; h < heads; h++) {
      for (uint64_t i = 0; i < free_; i++) mask_[h * plan.rows + i * plan.rows / free_] = 1;
    }
    fit_ = {{mask_.data(), mask_.size()}, 0.01, kHorizon, request_.query_rows, kHoldout};
    plan.fit = &fit_;
    outputs_ = {attention_.outputs.data(), attention_.outputs.size()};
    planned_.target.queries = &queries_.sample();
    planned_.target.outputs = &outputs_;
    return planned_.check(error);
  }

  /// Attention over the rows; A^T A; its factor; two solves; A^T E and A X. As the normal equations need it.
  Facts facts() const override {
    const double heads = cache_.layer().kv_heads, dim = cache_.layer().key_dim, kept = planned_.plan.rows;
    const double rows = request_.query_rows, n = free_, fitting = fitting_;
    const double solve = fitting * n * n + n * n * n / 3 + 2 * n * n * dim + 2 * n * dim * (fitting + rows);
    const double bytes = kept * cache_.cell_bytes() + 4 * heads * rows * dim * 2 + 2 * heads * n * dim;
    return {"", false, bytes, heads * (4 * rows * kept * dim + solve)};
  }

  kvfold_status run(Stopwatch *watch, kvfold_error *error) override {
    const kvfold_options options = options_of(request_);
    kvfold_fold *fold = nullptr;
    watch->start();
    const kvfold_status status =
        request_.backend->fold_prepare(&planned_.target, &planned_.plan, &options, &fold, error);
    watch->stop();
    if (fold != nullptr) request_.backend->fold_free(fold);
    return status;
  }

 private:
  const Request &request_;
  const Cache &cache_;
  Queries queries_;
  Attention attention_;
  Planned planned_;
  std::vector<uint8_t> mask_;
  kvfold_fit_request fit_{};
  kvfold_f32_span outputs_{};
  uint32_t fitting_ = 0, free_ = 0;
};

const char *lacks(const kvfold_backend &backend) {
  return backend.attend == nullptr || backend.turn_queries == nullptr ? "this backend has no fit" : "";
}

kvfold_status cases(const Request &request, Cache *cache, Cases *made, kvfold_error *error) {
  auto one = std::make_unique<FitCase>(request, *cache);
  if (kvfold_status status = one->make(error)) return status;
  made->push_back(std::move(one));
  return KVFOLD_OK;
}

}  // namespace

const Provider kFit = {"fit", true, false, true, 3.0, lacks, cases};

}  // namespace bench
}  // namespace kvfold

// fold: prepare and commit, with and without the time in which the undo log is saved. Rolling back is not timed.
#include "plans.h"
#include "providers.h"

namespace kvfold {
namespace bench {
namespace {

class FoldCase : public Case {
 public:
  FoldCase(const Request &request, const Cache &cache, const char *variant, bool undo_log)
      : request_(request), cache_(cache), variant_(variant), undo_log_(undo_log) {}

  Planned planned;

  Facts facts() const override { return {variant_, undo_log_, planned.useful_bytes(cache_), 0}; }

  kvfold_status run(Stopwatch *watch, kvfold_error *error) override {
    const kvfold_backend &backend = *request_.backend;
    const kvfold_options options = options_of(request_);
    kvfold_fold *fold = nullptr;
    kvfold_status status = planned.check(error);  // as always right before a fold: plans are warm, cells are cold
    if (status != KVFOLD_OK) return status;
    watch->start();
    status = backend.fold_prepare(&planned.target, &planned.plan, &options, &fold, error);
    if (status == KVFOLD_OK && !undo_log_) {
      watch->stop();
      status = backend.fold_save(fold, &options, error);
      watch->start();
    }
    if (status == KVFOLD_OK) status = backend.fold_commit(fold, &options, error);
    watch->stop();
    if (fold == nullptr) return status;
    const kvfold_status back = backend.fold_rollback(fold, &options, error);
    backend.fold_free(fold);
    return status != KVFOLD_OK ? status : back;
  }

 private:
  const Request &request_;
  const Cache &cache_;
  const char *variant_;
  const bool undo_log_;
};

const char *lacks(const kvfold_backend &) { return ""; }

kvfold_status add(const Request &request, Cache *cache, const char *variant, bool undo_log, Cases *made,
                  kvfold_error *error) {
  const std::string name = variant;
  auto one = std::make_unique<FoldCase>(request, *cache, variant, undo_log);
  if (name == "evict") one->planned.evict(*cache, request.ratio);
  else if (name == "composite") one->planned.composite(*cache, request.ratio);
  else one->planned.merge(*cache, request.ratio, name == "merge-turned");
  const kvfold_status status = one->planned.check(error);
  made->push_back(std::move(one));
  return status;
}

kvfold_status cases(const Request &request, Cache *cache, Cases *made, kvfold_error *error) {
  const bool can_save_apart = KVFOLD_HAS_ENTRY(*request.backend, fold_save);
  for (const char *variant : {"merge", "merge-turned", "evict", "composite"}) {
    for (bool undo_log : {true, false}) {
      if (!undo_log && !can_save_apart) continue;
      if (kvfold_status status = add(request, cache, variant, undo_log, made, error)) return status;
    }
  }
  return KVFOLD_OK;
}

}  // namespace

// besides the cache: new rows and undo log, each at most half of it
const Provider kFold = {"fold", false, true, false, 2.0, lacks, cases};

}  // namespace bench
}  // namespace kvfold

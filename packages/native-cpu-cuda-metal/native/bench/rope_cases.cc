// rope: every stored key of every layer turned by some positions; prepare and commit, undo log included.
#include "providers.h"

namespace kvfold {
namespace bench {
namespace {

constexpr int32_t kTurn = -7;

class RopeCase : public Case {
 public:
  RopeCase(const Request &request, const Cache &cache)
      : request_(request), cache_(cache), deltas_(cache.cells(), kTurn),
        rope_{&cache.memory(), cache.slots(), {deltas_.data(), deltas_.size()}, nullptr} {}

  const kvfold_rope &rope() const { return rope_; }

  /// Keys are read once and written once.
  Facts facts() const override {
    return {"", true, 2.0 * cache_.memory().layer_count * cache_.key_row_bytes() * cache_.cells(), 0};
  }

  kvfold_status run(Stopwatch *watch, kvfold_error *error) override {
    const kvfold_backend &backend = *request_.backend;
    const kvfold_options options = options_of(request_);
    kvfold_fold *change = nullptr;
    watch->start();
    kvfold_status status = backend.rope_prepare(&rope_, &options, &change, error);
    if (status == KVFOLD_OK) status = backend.fold_commit(change, &options, error);
    watch->stop();
    if (change == nullptr) return status;
    const kvfold_status back = backend.fold_rollback(change, &options, error);
    backend.fold_free(change);
    return status != KVFOLD_OK ? status : back;
  }

 private:
  const Request &request_;
  const Cache &cache_;
  std::vector<int32_t> deltas_;
  kvfold_rope rope_;
};

const char *lacks(const kvfold_backend &backend) {
  return KVFOLD_HAS_ENTRY(backend, rope_prepare) ? "" : "this backend has no rope";
}

kvfold_status cases(const Request &request, Cache *cache, Cases *made, kvfold_error *error) {
  auto one = std::make_unique<RopeCase>(request, *cache);
  const kvfold_status status = kvfold_check_rope(&one->rope(), error);
  made->push_back(std::move(one));
  return status;
}

}  // namespace

// besides the cache: new keys and undo log
const Provider kRope = {"rope", false, false, false, 2.0, lacks, cases};

}  // namespace bench
}  // namespace kvfold

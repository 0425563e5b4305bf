// attend: query rows x cells of one layer; what each cell gets, without and with the outputs.
#include "providers.h"
#include "queries.h"

namespace kvfold {
namespace bench {
namespace {

class AttendCase : public Case {
 public:
  AttendCase(const Request &request, const Cache &cache, bool with_outputs)
      : request_(request), cache_(cache), with_outputs_(with_outputs) {}

  kvfold_status make(kvfold_error *error) {
    queries_.make(cache_, request_.query_rows);
    return attention_.make(request_, cache_, queries_, with_outputs_, error);
  }

  /// A multiply-add of the scores, and one of the outputs, counts as two; exponentials are not counted.
  Facts facts() const override {
    const double heads = cache_.layer().kv_heads, rows = request_.query_rows, cells = cache_.cells();
    const double dim = cache_.layer().key_dim, tensors = with_outputs_ ? 2 : 1;
    const double floats = heads * (rows * dim * tensors + 3 * cells);
    return {with_outputs_ ? "outputs" : "statistics", false, tensors * cache_.key_row_bytes() * cells + 4 * floats,
            2 * tensors * heads * rows * cells * dim};
  }

  kvfold_status run(Stopwatch *watch, kvfold_error *error) override {
    const kvfold_options options = options_of(request_);
    watch->start();
    const kvfold_status status =
        request_.backend->attend(&attention_.request, &options, &attention_.result, error);
    watch->stop();
    return status;
  }

 private:
  const Request &request_;
  const Cache &cache_;
  bool with_outputs_;
  Queries queries_;
  Attention attention_;
};

const char *lacks(const kvfold_backend &backend) {
  return backend.attend == nullptr || backend.turn_queries == nullptr ? "this backend has no attend" : "";
}

kvfold_status cases(const Request &request, Cache *cache, Cases *made, kvfold_error *error) {
  for (bool with_outputs : {false, true}) {
    auto one = std::make_unique<AttendCase>(request, *cache, with_outputs);
    if (kvfold_status status = one->make(error)) return status;
    made->push_back(std::move(one));
  }
  return KVFOLD_OK;
}

}  // namespace

// besides the cache: keys and values as floats
const Provider kAttend = {"attend", true, false, true, 3.0, lacks, cases};

}  // namespace bench
}  // namespace kvfold

// key-stats: norms and mean cosines of the keys of all layers.
#include "providers.h"

namespace kvfold {
namespace bench {
namespace {

class KeyStatsCase : public Case {
 public:
  KeyStatsCase(const Request &request, const Cache &cache)
      : request_(request), cache_(cache), slices_(size_t{cache.layer().kv_heads} * cache.cells()), norm_(slices_),
        mean_cosine_(slices_) {}

  /// Keys are read once, although two passes over them are needed.
  Facts facts() const override {
    const double layers = cache_.memory().layer_count;
    const double written = 2.0 * sizeof(float) * static_cast<double>(slices_);
    return {"", false, layers * (cache_.key_row_bytes() * cache_.cells() + written), 0};
  }

  kvfold_read read_of(uint32_t layer) const {
    kvfold_read read{};
    read.memory = &cache_.memory();
    read.layer = layer;
    read.kind = KVFOLD_KEYS;
    read.slots = cache_.slots();
    read.positions = cache_.positions();
    read.unrotate = read.undo_hadamard = 1;
    return read;
  }

  kvfold_status run(Stopwatch *watch, kvfold_error *error) override {
    const kvfold_options options = options_of(request_);
    for (uint32_t layer = 0; layer < cache_.memory().layer_count; layer++) {
      const kvfold_read read = read_of(layer);
      watch->start();
      const kvfold_status status =
          request_.backend->key_stats(&read, &options, norm_.data(), mean_cosine_.data(), error);
      watch->stop();
      if (status != KVFOLD_OK) return status;
    }
    return KVFOLD_OK;
  }

 private:
  const Request &request_;
  const Cache &cache_;
  size_t slices_;
  std::vector<float> norm_, mean_cosine_;  // [heads, cells]
};

const char *lacks(const kvfold_backend &backend) {
  return backend.key_stats == nullptr ? "this backend has no key-stats" : "";
}

kvfold_status cases(const Request &request, Cache *cache, Cases *made, kvfold_error *error) {
  auto one = std::make_unique<KeyStatsCase>(request, *cache);
  const kvfold_read read = one->read_of(0);
  made->push_back(std::move(one));
  return kvfold_check_read(&read, error);
}

}  // namespace

const Provider kKeyStats = {"key-stats", false, false, false, 1.1, lacks, cases};

}  // namespace bench
}  // namespace kvfold

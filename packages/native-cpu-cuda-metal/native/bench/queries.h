// Random queries for attend and fit: one query head for each KV head, so that samples are query rows.
#ifndef KVFOLD_BENCH_QUERIES_H
#define KVFOLD_BENCH_QUERIES_H

#include <vector>

#include "cache.h"

namespace kvfold {
namespace bench {

constexpr uint32_t kHorizon = 512;  // positions ahead of the cache

/// Not movable once filled.
class Queries {
 public:
  Queries() = default;
  Queries(const Queries &) = delete;
  Queries &operator=(const Queries &) = delete;

  void make(const Cache &cache, uint32_t rows);
  const kvfold_query_sample &sample() const { return sample_; }
  /// Turned to the positions after `last`. [kv_heads, rows, key_dim]
  kvfold_status turned(const Request &request, const Cache &cache, int32_t last, std::vector<float> *out,
                       kvfold_error *error) const;

 private:
  kvfold_query_sample sample_{};
  kvfold_query_layer layer_{};
  std::vector<int32_t> positions_;
  std::vector<uint16_t> rows_;
};

/// attend on the first layer of a cache. Not movable once filled.
struct Attention {
  Attention() = default;
  Attention(const Attention &) = delete;
  Attention &operator=(const Attention &) = delete;

  kvfold_attention request{};
  kvfold_attention_result result{};
  std::vector<float> queries, maximum, mean, rms, outputs;

  kvfold_status make(const Request &asked, const Cache &cache, const Queries &sample, bool with_outputs,
                     kvfold_error *error);
};

}  // namespace bench
}  // namespace kvfold

#endif

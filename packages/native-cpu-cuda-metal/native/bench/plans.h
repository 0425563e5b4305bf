// Plans over a cache of the benchmark, and the target that they are for.
#ifndef KVFOLD_BENCH_PLANS_H
#define KVFOLD_BENCH_PLANS_H

#include <vector>

#include "cache.h"

namespace kvfold {
namespace bench {

/// Not movable once filled: spans point into it. The first `rows` cells of the cache take the rows.
struct Planned {
  Planned() = default;
  Planned(const Planned &) = delete;
  Planned &operator=(const Planned &) = delete;

  kvfold_target target{};
  kvfold_plan plan{};
  std::vector<uint32_t> members, offsets, counts, destinations;
  std::vector<int32_t> positions;
  std::vector<float> weights;

  /// Row i is the mean of the cells i * ratio .. (i + 1) * ratio - 1; `turned`: keys are rotated to the row first.
  void merge(const Cache &cache, uint32_t ratio, bool turned);
  /// Rows are cells picked at random.
  void evict(const Cache &cache, uint32_t ratio);
  /// Rows are cells picked at random, others for every layer and head.
  void composite(const Cache &cache, uint32_t ratio);

  /// What the border asks before a backend may be called.
  kvfold_status check(kvfold_error *error) const;
  /// Bytes of the cells that are read and of the rows that are written.
  double useful_bytes(const Cache &cache) const;

 private:
  void begin(const Cache &cache, uint32_t ratio);
  void bind();
};

}  // namespace bench
}  // namespace kvfold

#endif

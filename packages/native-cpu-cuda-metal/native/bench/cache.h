// A cache in host memory, filled with numbers in [-1, 1).
#ifndef KVFOLD_BENCH_CACHE_H
#define KVFOLD_BENCH_CACHE_H

#include <cstdint>
#include <vector>

#include "bench.h"
#include "common/scratch.h"

namespace kvfold {
namespace bench {

/// Cell c lies at slot c and at position c. Not movable once filled: the memory points into it.
class Cache {
 public:
  Cache() = default;
  Cache(const Cache &) = delete;
  Cache &operator=(const Cache &) = delete;

  /// Bytes of keys and values; 0 when they do not fit 64 bits or the type does not fit the heads.
  static uint64_t bytes_of(const Request &request, uint32_t layers);
  kvfold_status make(const Request &request, uint32_t layers, kvfold_error *error);

  const kvfold_memory &memory() const { return memory_; }
  const kvfold_memory_layer &layer() const { return layers_[0]; }
  uint32_t cells() const { return memory_.capacity; }
  kvfold_u32_span slots() const { return {slots_.data(), slots_.size()}; }
  kvfold_i32_span positions() const { return {positions_.data(), positions_.size()}; }
  /// Bytes of the keys and the values of one cell in all layers.
  double cell_bytes() const { return 2.0 * key_row_ * memory_.layer_count; }
  double key_row_bytes() const { return key_row_; }

 private:
  uint8_t *allocate(size_t bytes);

  kvfold_memory memory_{};
  std::vector<kvfold_memory_layer> layers_;
  std::vector<Scratch<uint8_t>> buffers_;
  std::vector<double> frequencies_;
  std::vector<uint32_t> slots_;
  std::vector<int32_t> positions_;
  double key_row_ = 0;
};

}  // namespace bench
}  // namespace kvfold

#endif

// The tensors of one stream of a cache, of a live context or of our own, and the devices that reach them.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "cache_tensor.h"
#include "context.h"
#include "turn.h"
#include "undo_log.h"

namespace kvfold {

struct TensorLayer {
  CacheTensor keys, values;
  TurnSpec turn;
};

// What a cache of our own is made of.
struct LayerPlan {
  ggml_type key_type, value_type;
  int64_t heads, key_dim, value_dim;
  bool transposed;
  TurnSpec turn;
};

class Tensors {
 public:
  // Of a live context. @param frequencies of every layer
  Tensors(std::shared_ptr<ContextHandle> context, uint32_t stream, std::vector<std::vector<double>> frequencies);
  // Of our own, on a device, with nothing in them.
  Tensors(ggml_backend_dev_t device, int threads, const std::vector<LayerPlan> &layers, int64_t capacity);

  const std::vector<TensorLayer> &layers() const { return layers_; }
  // @throws KVFOLD_ARGUMENT
  const CacheTensor &tensor(uint32_t layer, uint32_t kind) const;
  // Of the processor, where it is the device.
  int threads() const { return threads_; }

  // Raw bytes of slices, for the host. [cells, heads, slice bytes]
  std::vector<uint8_t> read(uint32_t layer, uint32_t kind, int64_t first_head, int64_t heads,
                            const std::vector<int32_t> &cells);
  // All bytes of a tensor of our own.
  std::vector<uint8_t> download(uint32_t layer, uint32_t kind) const;
  void upload(uint32_t layer, uint32_t kind, const std::vector<uint8_t> &bytes);

 private:
  friend class TensorsUse;
  void need_own() const;

  std::shared_ptr<ContextHandle> context_;
  int threads_;
  ContextPointer own_;
  BufferPointer buffer_;
  std::vector<TensorLayer> layers_;
  std::atomic<bool> busy_{false};
};

template <>
struct Tag<Tensors> {
  static constexpr napi_type_tag value = {0x6b76666f6c647473ull, 0x6c6c616d61746e73ull};
  static constexpr const char *name = "cache tensors";
};

// The right to touch the tensors, until destroyed: of a live context only while nothing is evaluated.
// @throws KVFOLD_DISPOSED, KVFOLD_CACHE_BUSY
class TensorsUse {
 public:
  explicit TensorsUse(std::shared_ptr<Tensors> tensors);
  ~TensorsUse();
  TensorsUse(const TensorsUse &) = delete;
  TensorsUse &operator=(const TensorsUse &) = delete;

  Tensors *operator->() const { return tensors_.get(); }

 private:
  std::shared_ptr<Tensors> tensors_;
  std::unique_ptr<Exclusive> exclusive_;
};

}  // namespace kvfold

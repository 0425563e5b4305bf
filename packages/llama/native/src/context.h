// A context of llama.cpp with what the bridge knows about it. One call at a time.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bias.h"
#include "cache.h"
#include "model.h"
#include "query_tap.h"

namespace kvfold {

struct MemoryBlock;

constexpr int64_t KVFOLD_MAX_CONTEXT = 1 << 27;  // cells; beyond any machine, but within 32 bits of every product

struct ContextOptions {
  uint32_t context = 0;  // cells of all sequences together
  uint32_t sequences = 1;
  bool unified = false;
  uint32_t batch = 512;
  bool flash_attention = true;
  ggml_type cache_type = GGML_TYPE_F16;
  int32_t threads = 1;
};

class ContextHandle {
 public:
  // Makes the context and evaluates one token on it to see how the model uses its cache; the cache is empty again
  // afterwards. @throws KVFOLD_CONTEXT
  ContextHandle(std::shared_ptr<llama_model> weights, const ContextOptions &options);
  ~ContextHandle();
  ContextHandle(const ContextHandle &) = delete;
  ContextHandle &operator=(const ContextHandle &) = delete;

  void free();
  // Nobody starts work on the memory any more; `free` does it too.
  void forbid_memory();

  llama_context *context() const { return context_; }
  const llama_vocab *vocab() const { return llama_model_get_vocab(weights_.get()); }
  llama_memory_t memory() const { return llama_get_memory(context_); }
  uint32_t sequences() const { return sequences_; }
  const CacheInfo &cache() const { return cache_; }
  // The cache, or KVFOLD_UNSUPPORTED with the reason.
  const CacheInfo &foldable_cache() const;
  CellBias &bias() { return *bias_; }

  // Attaches the evaluation callback while some bias is not 0 or a tap listens, and only then: on a GPU it costs a
  // synchronisation.
  void update_callback();
  // The tap that listens to the evaluations to come, or null. Not owned.
  void listen(QueryTap *tap) {
    tap_ = tap;
    update_callback();
  }
  // Empty, or why the callback could not do its work since the last call.
  std::string take_callback_problem();

  std::vector<std::shared_ptr<MemoryBlock>> memories;  // [stream], made on demand
  std::atomic<bool> cancel{false};

 private:
  friend class Exclusive;
  static bool on_node(ggml_tensor *node, bool ask, void *self);
  void attach(bool attached);
  void look_at_cache(const llama_model *model);

  std::shared_ptr<llama_model> weights_;
  llama_context *context_ = nullptr;
  uint32_t sequences_ = 1;
  CacheInfo cache_;
  std::unique_ptr<CellBias> bias_;
  GraphProbe *probe_ = nullptr;
  QueryTap *tap_ = nullptr;
  std::string callback_problem_;
  std::atomic<bool> busy_{false};
  std::atomic<bool> stopped_{false};  // an assertion of llama.cpp was turned into an error
};

template <>
struct Tag<ContextHandle> {
  static constexpr napi_type_tag value = {0x6b76666f6c646378ull, 0x6c6c616d61437478ull};
  static constexpr const char *name = "context";
};

// The right to touch a context, until destroyed. @throws KVFOLD_DISPOSED, KVFOLD_CACHE_BUSY
// A job takes the only reference with it, so that the right ends on the thread that did the work.
class Exclusive {
 public:
  explicit Exclusive(std::shared_ptr<ContextHandle> handle, bool to_free = false) : handle_(std::move(handle)) {
    if (handle_->busy_.exchange(true)) throw Failure("KVFOLD_CACHE_BUSY", "the context is at work on another call");
    if (handle_->context() != nullptr && (to_free || !handle_->stopped_)) return;
    handle_->busy_ = false;
    if (handle_->context() == nullptr) throw Failure("KVFOLD_DISPOSED", "the context was already freed");
    throw Failure("KVFOLD_NATIVE", "llama.cpp stopped in the middle of an earlier call", "dispose of this context");
  }
  ~Exclusive() {
    if (stopped_here()) handle_->stopped_ = true;
    handle_->busy_ = false;
  }
  Exclusive(const Exclusive &) = delete;
  Exclusive &operator=(const Exclusive &) = delete;

  ContextHandle *operator->() const { return handle_.get(); }
  ContextHandle &operator*() const { return *handle_; }

 private:
  std::shared_ptr<ContextHandle> handle_;
};

inline std::shared_ptr<Exclusive> context_arg(const Napi::Value &value) {
  return std::make_shared<Exclusive>(unwrap<ContextHandle>(value));
}

inline llama_seq_id sequence_arg(const Exclusive &context, const Napi::Value &value) {
  return static_cast<llama_seq_id>(integer_arg(value, "sequence", 0, context->sequences() - 1));
}

void register_context(Napi::Env env, Napi::Object exports);
void register_decode(Napi::Env env, Napi::Object exports);
void register_cells(Napi::Env env, Napi::Object exports);
void register_memory(Napi::Env env, Napi::Object exports);
void register_state(Napi::Env env, Napi::Object exports);
void register_queries(Napi::Env env, Napi::Object exports);

}  // namespace kvfold

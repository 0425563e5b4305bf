// A loaded model and its vocabulary.
#pragma once

#include <atomic>
#include <memory>

#include "binding.h"
#include "llama.h"

namespace kvfold {

// Shared with the contexts made from it, so that the weights go with the last user. Null once freed by its owner.
struct ModelHandle {
  explicit ModelHandle(llama_model *loaded) : weights(loaded, llama_model_free) {}

  llama_model *model() const { return weights.get(); }
  const llama_vocab *vocab() const { return llama_model_get_vocab(weights.get()); }

  std::shared_ptr<llama_model> weights;
};

template <>
struct Tag<ModelHandle> {
  static constexpr napi_type_tag value = {0x6b76666f6c646d31ull, 0x6c6c616d614d6f64ull};
  static constexpr const char *name = "model";
};

// A flag that one side raises and a worker polls.
struct CancelFlag {
  std::atomic<bool> raised{false};
};

template <>
struct Tag<CancelFlag> {
  static constexpr napi_type_tag value = {0x6b76666f6c646331ull, 0x63616e63656c666cull};
  static constexpr const char *name = "cancel flag";
};

// The model behind a handle. @throws KVFOLD_DISPOSED
inline std::shared_ptr<ModelHandle> model_arg(const Napi::Value &value) {
  auto handle = unwrap<ModelHandle>(value);
  if (handle->weights == nullptr) throw Failure("KVFOLD_DISPOSED", "the model was already freed");
  return handle;
}

void register_model(Napi::Env env, Napi::Object exports);
void register_tokens(Napi::Env env, Napi::Object exports);

}  // namespace kvfold

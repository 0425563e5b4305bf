// Loading and describing models.
#include "model.h"

#include <cstdlib>
#include <vector>

#include "ggml-backend.h"
#include "log_sink.h"

namespace kvfold {

namespace {

// loadBackends(folder): registers the processor backends of the package, once.
Napi::Value load_backends(const Napi::CallbackInfo &info) {
  const std::string folder = string_arg(info[0], "folder");
  install_log_sink();
  install_abort_guard();
  if (ggml_backend_reg_count() == 0) ggml_backend_load_all_from_path(folder.c_str());
  if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr)
    throw Failure("KVFOLD_LLAMA_VERSION", "no processor backend of llama.cpp could be loaded from " + folder,
                  "reinstall @node-llama-cpp/linux-x64");
  llama_backend_init();
  return info.Env().Undefined();
}

Napi::Value create_flag(const Napi::CallbackInfo &info) {
  return wrap(info.Env(), std::make_shared<CancelFlag>());
}

Napi::Value raise_flag(const Napi::CallbackInfo &info) {
  unwrap<CancelFlag>(info[0])->raised = true;
  return info.Env().Undefined();
}

// Reports whole percents at most, so that a fast load does not flood the event loop.
struct Progress {
  std::shared_ptr<CancelFlag> cancel;
  Napi::ThreadSafeFunction report;
  bool reports = false;
  int last = -1;

  static bool call(float fraction, void *data) {
    auto *self = static_cast<Progress *>(data);
    const int percent = static_cast<int>(fraction * 100.0f);
    if (self->reports && percent != self->last) {
      self->last = percent;
      self->report.NonBlockingCall([fraction](Napi::Env env, Napi::Function function) {
        function.Call({Napi::Number::New(env, fraction)});
      });
    }
    return !self->cancel->raised;
  }
};

std::shared_ptr<ModelHandle> load_now(const std::string &path, Progress &progress) {
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  params.progress_callback = Progress::call;
  params.progress_callback_user_data = &progress;
  take_log_problems();
  llama_model *model = llama_model_load_from_file(path.c_str(), params);
  if (model != nullptr) return std::make_shared<ModelHandle>(model);
  if (progress.cancel->raised) throw Failure("KVFOLD_ABORTED", "cancelled while the model was loading");
  throw Failure("KVFOLD_MODEL_FILE", "llama.cpp could not load " + path + ": " + take_log_problems(),
                "check that the file is a complete GGUF of an architecture that llama.cpp v0.5.0 knows");
}

// loadModel(path, cancelFlag, onProgress?): promise of a model handle.
Napi::Value load_model(const Napi::CallbackInfo &info) {
  const std::string path = string_arg(info[0], "path");
  auto progress = std::make_shared<Progress>();
  progress->cancel = unwrap<CancelFlag>(info[1]);
  if (info[2].IsFunction()) {
    progress->report = Napi::ThreadSafeFunction::New(info.Env(), info[2].As<Napi::Function>(), "kvfold load", 0, 1);
    progress->reports = true;
  }
  using Result = std::shared_ptr<ModelHandle>;
  return Job<Result>::start(
      info.Env(),
      [path, progress]() -> Result {
        struct Release {
          Progress &progress;
          ~Release() {
            if (progress.reports) progress.report.Release();
          }
        } release{*progress};
        return load_now(path, *progress);
      },
      [](Napi::Env env, Result &model) { return wrap(env, model); });
}

// freeModel(model): promise. The weights go when the last context is freed. Twice does no harm.
Napi::Value free_model(const Napi::CallbackInfo &info) {
  auto weights = std::make_shared<std::shared_ptr<llama_model>>(std::move(unwrap<ModelHandle>(info[0])->weights));
  return Job<bool>::start(
      info.Env(),
      [weights]() {
        weights->reset();
        return true;
      },
      [](Napi::Env env, bool &) { return env.Undefined(); });
}

std::string meta(const llama_model *model, const char *key) {
  std::vector<char> text(256);
  const int32_t length = llama_model_meta_val_str(model, key, text.data(), text.size());
  if (length < 0) return "";
  if (static_cast<size_t>(length) >= text.size()) {
    text.resize(static_cast<size_t>(length) + 1);
    llama_model_meta_val_str(model, key, text.data(), text.size());
  }
  return text.data();
}

// metaValue(model, key): text of a metadata key, or undefined.
Napi::Value meta_value(const Napi::CallbackInfo &info) {
  const auto handle = model_arg(info[0]);
  const std::string value = meta(handle->model(), string_arg(info[1], "key").c_str());
  return value.empty() ? info.Env().Undefined() : Napi::String::New(info.Env(), value).As<Napi::Value>();
}

// describeModel(model): facts that need no context.
Napi::Value describe_model(const Napi::CallbackInfo &info) {
  const auto handle = model_arg(info[0]);
  const llama_model *model = handle->model();
  const llama_vocab *vocab = handle->vocab();
  Napi::Object facts = Napi::Object::New(info.Env());
  const auto number = [&](const char *name, double value) { facts.Set(name, Napi::Number::New(info.Env(), value)); };
  facts.Set("architecture", meta(model, "general.architecture"));
  facts.Set("name", meta(model, "general.name"));
  number("parameters", static_cast<double>(llama_model_n_params(model)));
  number("bytes", static_cast<double>(llama_model_size(model)));
  number("layers", llama_model_n_layer(model));
  number("embedding", llama_model_n_embd(model));
  number("heads", llama_model_n_head(model));
  number("kvHeads", llama_model_n_head_kv(model));
  number("trainedContext", llama_model_n_ctx_train(model));
  number("vocabularySize", llama_vocab_n_tokens(vocab));
  number("slidingWindow", llama_model_n_swa(model));
  number("ropeType", llama_model_rope_type(model));
  number("bosToken", llama_vocab_bos(vocab));
  const std::string type = meta(model, "general.file_type");
  if (!type.empty()) facts.Set("quantization", llama_ftype_name(static_cast<llama_ftype>(std::atoi(type.c_str()))));
  facts.Set("addsBos", llama_vocab_get_add_bos(vocab));
  facts.Set("hasVocabulary", llama_vocab_type(vocab) != LLAMA_VOCAB_TYPE_NONE);
  facts.Set("hasEncoder", llama_model_has_encoder(model));
  facts.Set("hasDecoder", llama_model_has_decoder(model));
  facts.Set("recurrent", llama_model_is_recurrent(model));
  facts.Set("hybrid", llama_model_is_hybrid(model));
  return facts;
}

}  // namespace

void register_model(Napi::Env env, Napi::Object exports) {
  exports.Set("loadBackends", Napi::Function::New(env, guarded<load_backends>));
  exports.Set("createFlag", Napi::Function::New(env, guarded<create_flag>));
  exports.Set("raiseFlag", Napi::Function::New(env, guarded<raise_flag>));
  exports.Set("loadModel", Napi::Function::New(env, guarded<load_model>));
  exports.Set("freeModel", Napi::Function::New(env, guarded<free_model>));
  exports.Set("metaValue", Napi::Function::New(env, guarded<meta_value>));
  exports.Set("describeModel", Napi::Function::New(env, guarded<describe_model>));
}

}  // namespace kvfold

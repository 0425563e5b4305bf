// See context.h.
#include "context.h"

#include "llama-context.h"
#include "log_sink.h"
#include "memory.h"

namespace kvfold {

namespace {

llama_context_params params_of(const ContextOptions &options) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = options.context;
  params.n_batch = options.batch;
  params.n_ubatch = options.batch;
  params.n_seq_max = options.sequences;
  params.n_threads = options.threads;
  params.n_threads_batch = options.threads;
  params.flash_attn_type = options.flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.type_k = options.cache_type;
  params.type_v = options.cache_type;
  params.kv_unified = options.unified;
  params.no_perf = true;
  return params;
}

}  // namespace

ContextHandle::ContextHandle(std::shared_ptr<llama_model> weights, const ContextOptions &options)
    : weights_(std::move(weights)), sequences_(options.sequences) {
  take_log_problems();
  context_ = llama_init_from_model(weights_.get(), params_of(options));
  if (context_ == nullptr)
    throw Failure("KVFOLD_CONTEXT", "llama.cpp could not create the context: " + take_log_problems(),
                  "try a smaller contextSize, another cacheType, or flashAttention \"on\" for a quantised cache");
  llama_set_abort_callback(
      context_, [](void *data) { return static_cast<ContextHandle *>(data)->cancel.load(); }, this);
  try {
    look_at_cache(weights_.get());
  } catch (...) {
    free();
    throw;
  }
}

ContextHandle::~ContextHandle() { free(); }

void ContextHandle::forbid_memory() {
  for (const auto &block : memories)
    if (block != nullptr && block->memory.alive != 0) block->memory.alive = 0;
}

void ContextHandle::free() {
  forbid_memory();
  if (context_ != nullptr) llama_free(context_);
  context_ = nullptr;
  cache_.cache = nullptr;
  cache_.problem = "the context was already freed";
  weights_.reset();
}

// Encoders need their input first, and models without a cache have nothing to see.
void ContextHandle::look_at_cache(const llama_model *model) {
  cache_ = find_cache(context_);
  if (cache_.cache != nullptr && llama_model_has_encoder(model)) cache_.problem = "the model has an encoder";
  bias_ = std::make_unique<CellBias>(cache_.streams, cache_.cells);
  memories.resize(cache_.streams);
  if (cache_.cache == nullptr || !cache_.problem.empty()) return;

  GraphProbe probe;
  probe_ = &probe;
  attach(true);
  llama_token token = 0;
  const int32_t result = llama_decode(context_, llama_batch_get_one(&token, 1));
  llama_synchronize(context_);
  probe_ = nullptr;
  attach(false);
  if (result != 0)
    throw Failure("KVFOLD_CONTEXT", "the first evaluation failed: " + take_log_problems(), "use a smaller batchSize");
  if (!callback_problem_.empty()) throw Failure("KVFOLD_NATIVE", take_callback_problem());
  describe_cache(cache_, probe, 0);
  llama_memory_clear(memory(), true);
}

const CacheInfo &ContextHandle::foldable_cache() const {
  if (!cache_.problem.empty())
    throw Failure("KVFOLD_UNSUPPORTED", "this cache cannot be folded: " + cache_.problem,
                  "the model can still be used without folding");
  return cache_;
}

void ContextHandle::update_callback() { attach(bias_->any() || tap_ != nullptr); }

// The scheduler takes a callback at once; the parameters are what it is given again with every new graph.
void ContextHandle::attach(bool attached) {
  auto &params = const_cast<llama_cparams &>(context_->get_cparams());
  params.cb_eval = attached ? on_node : nullptr;
  params.cb_eval_user_data = attached ? this : nullptr;
  ggml_backend_sched_t scheduler = context_->get_sched();
  if (scheduler != nullptr) ggml_backend_sched_set_eval_callback(scheduler, params.cb_eval, params.cb_eval_user_data);
}

// Asks only for the nodes that a tap wants: what is asked for is computed apart. No exception may pass through llama.cpp,
// and a node that was asked for must be answered with true, or the evaluation ends there.
bool ContextHandle::on_node(ggml_tensor *node, bool ask, void *data) {
  auto *self = static_cast<ContextHandle *>(data);
  try {
    if (!ask) {
      if (self->tap_ != nullptr) self->tap_->take(node);
      return true;
    }
    if (self->probe_ != nullptr) self->probe_->see(node);
    if (self->bias_ != nullptr && self->bias_->any()) self->bias_->see(node, self->cache_.key_roots);
    return self->tap_ != nullptr && self->tap_->wants(node);
  } catch (const std::exception &error) {
    self->callback_problem_ = error.what();
  }
  return !ask;
}

std::string ContextHandle::take_callback_problem() {
  std::string problem;
  problem.swap(callback_problem_);
  return problem;
}

namespace {

ggml_type cache_type_arg(const Napi::Value &value) {
  const std::string name = string_arg(value, "cacheType");
  if (name == "f32") return GGML_TYPE_F32;
  if (name == "f16") return GGML_TYPE_F16;
  if (name == "q8_0") return GGML_TYPE_Q8_0;
  throw Failure("KVFOLD_ARGUMENT", "cacheType must be f32, f16 or q8_0");
}

// createContext(model, {context, sequences, unified, batch, flashAttention, cacheType, threads}): promise of a handle.
Napi::Value create_context(const Napi::CallbackInfo &info) {
  const std::shared_ptr<llama_model> weights = model_arg(info[0])->weights;
  if (!info[1].IsObject()) throw Failure("KVFOLD_ARGUMENT", "expected options");
  const Napi::Object given = info[1].As<Napi::Object>();
  ContextOptions options;
  options.context = static_cast<uint32_t>(integer_arg(given.Get("context"), "context", 1, KVFOLD_MAX_CONTEXT));
  options.sequences = static_cast<uint32_t>(integer_arg(given.Get("sequences"), "sequences", 1, 256));
  options.batch = static_cast<uint32_t>(integer_arg(given.Get("batch"), "batch", 1, 1 << 16));
  options.threads = static_cast<int32_t>(integer_arg(given.Get("threads"), "threads", 1, 512));
  options.unified = given.Get("unified").ToBoolean();
  options.flash_attention = given.Get("flashAttention").ToBoolean();
  options.cache_type = cache_type_arg(given.Get("cacheType"));
  using Result = std::shared_ptr<ContextHandle>;
  return Job<Result>::start(
      info.Env(), [weights, options]() -> Result { return std::make_shared<ContextHandle>(weights, options); },
      [](Napi::Env env, Result &handle) { return wrap(env, handle); });
}

// freeContext(context): promise. Twice does no harm.
Napi::Value free_context(const Napi::CallbackInfo &info) {
  const auto handle = unwrap<ContextHandle>(info[0]);
  std::shared_ptr<Exclusive> context;
  if (handle->context() != nullptr) context = std::make_shared<Exclusive>(handle, true);
  if (context != nullptr) (*context)->forbid_memory();
  return Job<bool>::start(
      info.Env(),
      [context = std::move(context)]() {
        if (context != nullptr) (*context)->free();
        return true;
      },
      [](Napi::Env env, bool &) { return env.Undefined(); });
}

Napi::Object rope_object(Napi::Env env, const RopeFacts &rope) {
  Napi::Object object = Napi::Object::New(env);
  const auto number = [&](const char *name, double value) { object.Set(name, Napi::Number::New(env, value)); };
  number("dims", rope.dims);
  number("mode", rope.mode);
  number("originalContext", rope.original_context);
  number("base", rope.base);
  number("scale", rope.scale);
  number("extFactor", rope.ext_factor);
  number("attnFactor", rope.attn_factor);
  number("betaFast", rope.beta_fast);
  number("betaSlow", rope.beta_slow);
  object.Set("factors", rope.factors.empty() ? env.Null() : to_array<float>(env, rope.factors));
  return object;
}

Napi::Object layer_object(Napi::Env env, const CacheLayer &layer) {
  const LayerFacts &facts = layer.facts;
  Napi::Object object = Napi::Object::New(env);
  const auto number = [&](const char *name, double value) { object.Set(name, Napi::Number::New(env, value)); };
  number("layer", layer.index);
  number("kvHeads", static_cast<double>(facts.kv_heads));
  number("queryHeads", static_cast<double>(facts.query_heads));
  number("keyDim", static_cast<double>(facts.key_dim));
  number("valueDim", static_cast<double>(facts.value_dim));
  object.Set("keyType", facts.key == nullptr ? "" : ggml_type_name(facts.key->type));
  object.Set("valueType", facts.value == nullptr ? "" : ggml_type_name(facts.value->type));
  number("hadamardKey", static_cast<double>(facts.hadamard_key));
  number("hadamardValue", static_cast<double>(facts.hadamard_value));
  number("scale", facts.scale);
  number("softCap", facts.soft_cap);
  object.Set("sinks", facts.sinks);
  number("queryScale", facts.query_node.empty() ? 0.0 : facts.scale * facts.query_scale);
  object.Set("rope", facts.rotated ? Napi::Value(rope_object(env, facts.rope)) : env.Null());
  return object;
}

// describeContext(context): sizes, and the cache as the graph showed it.
Napi::Value describe_context(const Napi::CallbackInfo &info) {
  const auto context = context_arg(info[0]);
  const Napi::Env env = info.Env();
  const CacheInfo &cache = (*context)->cache();
  Napi::Object object = Napi::Object::New(env);
  const auto number = [&](const char *name, double value) { object.Set(name, Napi::Number::New(env, value)); };
  number("contextSize", llama_n_ctx_seq((*context)->context()));
  number("batchSize", llama_n_batch((*context)->context()));
  number("streams", cache.streams);
  number("cells", cache.cells);
  object.Set("problem", cache.problem);
  object.Set("hasCache", cache.cache != nullptr);
  object.Set("windowedPart", cache.windowed_part);
  object.Set("valuesTransposed", cache.values_transposed);
  Napi::Array layers = Napi::Array::New(env, cache.layers.size());
  for (uint32_t i = 0; i < cache.layers.size(); i++) layers.Set(i, layer_object(env, cache.layers[i]));
  object.Set("layers", layers);
  return object;
}

}  // namespace

void register_context(Napi::Env env, Napi::Object exports) {
  exports.Set("createContext", Napi::Function::New(env, guarded<create_context>));
  exports.Set("freeContext", Napi::Function::New(env, guarded<free_context>));
  exports.Set("describeContext", Napi::Function::New(env, guarded<describe_context>));
}

}  // namespace kvfold

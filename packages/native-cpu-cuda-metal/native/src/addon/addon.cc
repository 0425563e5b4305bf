// Registers the exported functions, and the few that need no file of their own.
#include <napi.h>

#include <thread>

#include "addon/arguments.h"
#include "addon/attend_worker.h"
#include "addon/bench_worker.h"
#include "addon/fold_worker.h"
#include "addon/memory.h"
#include "addon/promise_worker.h"
#include "addon/read_worker.h"
#include "attention.h"
#include "cpu/arch/arch.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace addon {
namespace {

const napi_type_tag kFlagTag = {0x6b76666f6c643031ull, 0x666c616700000001ull};

AbortFlag flag_of(const Napi::Value &value) {
  if (!value.IsExternal() || !value.As<Napi::External<AbortFlag>>().CheckTypeTag(&kFlagTag))
    throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT, "this is not an abort flag of kvfold");
  return *value.As<Napi::External<AbortFlag>>().Data();
}

/// info() -> { abi, isa, attentionIsa, hardwareThreads, maxThreads, backends, cuda }
Napi::Value info(const Napi::CallbackInfo &call) {
  const Napi::Env env = call.Env();
  Napi::Object result = Napi::Object::New(env);
  Napi::Array names = Napi::Array::New(env);
  for (uint32_t i = 0; const kvfold_backend *backend = kvfold_backend_at(i); i++) names.Set(i, backend->name);
  result.Set("abi", KVFOLD_MEMORY_ABI);
  result.Set("isa", cpu::kernels().isa);
  result.Set("attentionIsa", kvfold_attention_isa(0));
  result.Set("hardwareThreads", std::thread::hardware_concurrency());
  result.Set("maxThreads", KVFOLD_MAX_THREADS);
  result.Set("backends", names);
  result.Set("cuda", kvfold_cuda_state());
  return result;
}

/// supports(backend, layers) -> true or the reason why not
Napi::Value supports(const Napi::CallbackInfo &call) {
  const Napi::Env env = call.Env();
  const kvfold_backend *backend = backend_argument(call[0]);
  const Layers layers = layers_argument(call[1]);
  for (uint32_t i = 0; i < layers.layers.size(); i++) {
    kvfold_error error{};
    const kvfold_memory_layer *layer = &layers.layers[i];
    if (kvfold_check_layer(layer, i, &error) != KVFOLD_OK || backend->supports(layer, &error) != KVFOLD_OK)
      return Napi::String::New(env, error.message);
  }
  return Napi::Boolean::New(env, true);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("info", Napi::Function::New(env, info));
  exports.Set("supports", Napi::Function::New(env, supports));
  exports.Set("createMemory", Napi::Function::New(env, create_memory));
  exports.Set("releaseMemory", Napi::Function::New(env, release_memory));
  exports.Set("describeMemory", Napi::Function::New(env, describe_memory));
  exports.Set("createFlag", Napi::Function::New(env, create_flag));
  exports.Set("raiseFlag", Napi::Function::New(env, raise_flag));
  exports.Set("prepare", Napi::Function::New(env, prepare));
  exports.Set("prepareShift", Napi::Function::New(env, prepare_shift));
  exports.Set("commit", Napi::Function::New(env, commit));
  exports.Set("rollback", Napi::Function::New(env, rollback));
  exports.Set("dispose", Napi::Function::New(env, dispose));
  exports.Set("readRows", Napi::Function::New(env, read_rows));
  exports.Set("keyStats", Napi::Function::New(env, key_stats));
  exports.Set("turnQueries", Napi::Function::New(env, turn_queries));
  exports.Set("attend", Napi::Function::New(env, attend));
  exports.Set("benchOperations", Napi::Function::New(env, bench_operations));
  exports.Set("bench", Napi::Function::New(env, bench));
  return exports;
}

}  // namespace

AbortFlag flag_argument_or_none(const Napi::Value &value) {
  if (value.IsNull() || value.IsUndefined()) return std::make_shared<std::atomic<int>>(0);
  return flag_of(value);
}

Napi::Value create_flag(const Napi::CallbackInfo &call) {
  auto held = std::make_unique<AbortFlag>(std::make_shared<std::atomic<int>>(0));
  const auto external =
      Napi::External<AbortFlag>::New(call.Env(), held.get(), [](Napi::Env, AbortFlag *flag) { delete flag; });
  held.release();
  external.TypeTag(&kFlagTag);
  return external;
}

Napi::Value raise_flag(const Napi::CallbackInfo &call) {
  flag_of(call[0])->store(1);
  return call.Env().Undefined();
}

const kvfold_backend *backend_argument(const Napi::Value &value) {
  const std::string name = string_argument(value, "backend");
  const kvfold_backend *backend = kvfold_backend_named(name.c_str());
  if (backend == nullptr)
    throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT, "this build has no backend \"" + name + "\"");
  return backend;
}

NODE_API_MODULE(kvfold_native, init)

}  // namespace addon
}  // namespace kvfold

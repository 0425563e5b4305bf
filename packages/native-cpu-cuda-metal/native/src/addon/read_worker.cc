// Rows and key statistics, off the event loop. Results are made before the job and handed out after it, so that nobody
// can detach them meanwhile.
#include "addon/read_worker.h"

#include <memory>

#include "addon/arguments.h"
#include "addon/memory.h"
#include "addon/promise_worker.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace addon {
namespace {

/// A request with its arrays. Not movable once filled: spans point into it.
struct ReadState {
  Napi::ObjectReference memory_external;
  const kvfold_backend *backend = nullptr;
  kvfold_read read{};
  std::vector<uint32_t> slots;
  std::vector<int32_t> positions, sources;
  uint32_t threads = 1;
  AbortFlag flag;
  std::vector<Napi::ObjectReference> results;

  kvfold_options options() const { return {threads, is_raised, flag.get(), nullptr, 0}; }
};

std::shared_ptr<ReadState> read_request(const Napi::Value &value, uint32_t kind, bool unrotate, bool undo_hadamard) {
  const Napi::Object request = object_argument(value, "request");
  auto state = std::make_shared<ReadState>();
  kvfold_read &read = state->read;
  read.memory = memory_argument(request.Get("memory"));
  state->memory_external = Napi::Persistent(request.Get("memory").As<Napi::Object>());
  state->backend = backend_argument(request.Get("backend"));
  state->threads = static_cast<uint32_t>(integer_argument(request.Get("threads"), "threads", KVFOLD_MAX_THREADS));
  state->flag = flag_argument_or_none(request.Get("flag"));
  state->slots = copy_array<uint32_t>(request.Get("slots"), "slots");
  state->positions = copy_array<int32_t>(request.Get("positions"), "positions", true);
  state->sources = copy_array<int32_t>(request.Get("sources"), "sources", true);
  read.layer = static_cast<uint32_t>(integer_argument(request.Get("layer"), "layer", UINT32_MAX));
  read.kind = kind;
  read.unrotate = unrotate ? 1 : 0;
  read.undo_hadamard = undo_hadamard ? 1 : 0;
  read.slots = {state->slots.data(), state->slots.size()};
  read.positions = {state->positions.data(), state->positions.size()};
  read.sources = {state->sources.data(), state->sources.size()};
  kvfold_error error{};
  throw_unless_ok(value.Env(), kvfold_check_read(&read, &error), error);
  const kvfold_options options = state->options();
  throw_unless_ok(value.Env(), kvfold_check_options(&options, &error), error);
  return state;
}

float *new_result(Napi::Env env, ReadState *state, size_t width) {
  const size_t heads = state->read.memory->layers[state->read.layer].kv_heads;
  Napi::Float32Array array = Napi::Float32Array::New(env, heads * state->slots.size() * width);
  state->results.push_back(Napi::Persistent(array.As<Napi::Object>()));
  return array.Data();
}

}  // namespace

/// readRows({ memory, backend, threads, flag, layer, kind, slots, positions, sources, unrotate, undoHadamard })
///   -> Promise<Float32Array [kvHeads, cells, dim]>
Napi::Value read_rows(const Napi::CallbackInfo &info) {
  const Napi::Object request = object_argument(info[0], "request");
  const std::string kind = string_argument(request.Get("kind"), "kind");
  if (kind != "keys" && kind != "values")
    throw_error(info.Env(), KVFOLD_STATUS_ARGUMENT, "kind must be \"keys\" or \"values\"");
  const bool keys = kind == "keys";
  auto state = read_request(info[0], keys ? KVFOLD_KEYS : KVFOLD_VALUES,
                            flag_argument(request.Get("unrotate"), "unrotate"),
                            flag_argument(request.Get("undoHadamard"), "undoHadamard"));
  const kvfold_memory_layer &layer = state->read.memory->layers[state->read.layer];
  float *out = new_result(info.Env(), state.get(), keys ? layer.key_dim : layer.value_dim);
  return PromiseWorker::start(
      info.Env(),
      [=](kvfold_error *error) {
        const kvfold_options options = state->options();
        return state->backend->read_rows(&state->read, &options, out, error);
      },
      [=](Napi::Env, kvfold_status) -> Napi::Value { return state->results[0].Value(); });
}

/// keyStats({ memory, backend, threads, flag, layer, slots, positions, sources }) -> Promise<{ norm, meanCosine }>
Napi::Value key_stats(const Napi::CallbackInfo &info) {
  auto state = read_request(info[0], KVFOLD_KEYS, true, true);
  if (state->backend->key_stats == nullptr)
    throw_error(info.Env(), KVFOLD_STATUS_UNSUPPORTED, std::string(state->backend->name) + " has no key statistics");
  float *norm = new_result(info.Env(), state.get(), 1), *mean_cosine = new_result(info.Env(), state.get(), 1);
  return PromiseWorker::start(
      info.Env(),
      [=](kvfold_error *error) {
        const kvfold_options options = state->options();
        return state->backend->key_stats(&state->read, &options, norm, mean_cosine, error);
      },
      [=](Napi::Env env, kvfold_status) -> Napi::Value {
        Napi::Object result = Napi::Object::New(env);
        result.Set("norm", state->results[0].Value());
        result.Set("meanCosine", state->results[1].Value());
        return result;
      });
}

}  // namespace addon
}  // namespace kvfold

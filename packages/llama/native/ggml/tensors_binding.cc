// Cache tensors for TypeScript: those of a live context, and those of our own that a trial fold works on.
#include "memory.h"
#include "tensors.h"

namespace kvfold {

namespace {

std::shared_ptr<TensorsUse> tensors_arg(const Napi::Value &value) {
  return std::make_shared<TensorsUse>(unwrap<Tensors>(value));
}

uint32_t number(const Napi::Object &object, const char *name, int64_t from, int64_t to) {
  return static_cast<uint32_t>(integer_arg(object.Get(name), name, from, to));
}

// cacheTensors(context, sequence, frequencies): a handle; nothing is copied.
Napi::Value cache_tensors(const Napi::CallbackInfo &info) {
  const auto handle = unwrap<ContextHandle>(info[0]);
  const Exclusive context(handle);
  const CacheInfo &cache = context->foldable_cache();
  const uint32_t stream = stream_of(cache, sequence_arg(context, info[1]));
  return wrap(info.Env(), std::make_shared<Tensors>(handle, stream, frequencies_arg(info[2], cache)));
}

ggml_type type_arg(const Napi::Value &value) {
  const auto type = static_cast<ggml_type>(integer_arg(value, "type", 0, GGML_TYPE_COUNT - 1));
  switch (type) {
    case GGML_TYPE_F32: case GGML_TYPE_F16: case GGML_TYPE_BF16: case GGML_TYPE_Q8_0:
    case GGML_TYPE_Q4_0: case GGML_TYPE_Q4_1: case GGML_TYPE_Q5_0: case GGML_TYPE_Q5_1: return type;
    default: throw Failure("KVFOLD_UNSUPPORTED", "a cache of this type is not folded");
  }
}

LayerPlan layer_arg(const Napi::Object &given) {
  LayerPlan plan;
  plan.heads = number(given, "kvHeads", 1, 4096);
  plan.key_dim = number(given, "keyDim", 1, 8192);
  plan.value_dim = number(given, "valueDim", 1, 8192);
  plan.key_type = type_arg(given.Get("keyType"));
  plan.value_type = type_arg(given.Get("valueType"));
  plan.transposed = given.Get("valueTransposed").ToBoolean();
  for (const auto &[type, dim] : {std::pair{plan.key_type, plan.key_dim}, std::pair{plan.value_type, plan.value_dim}})
    if (dim % ggml_blck_size(type) != 0) throw Failure("KVFOLD_UNSUPPORTED", "a head is not a whole number of blocks");
  plan.turn.pairing = number(given, "ropePairing", 0, 2);
  plan.turn.hadamard = number(given, "hadamardKey", 0, 8192);
  const int64_t block = plan.turn.hadamard;
  if (block != 0 && ((block & (block - 1)) != 0 || plan.key_dim % block != 0))
    throw Failure("KVFOLD_UNSUPPORTED", "a head is not a whole number of Hadamard blocks");
  if (plan.turn.pairing == KVFOLD_ROPE_NONE) return plan;
  plan.turn.dims = number(given, "ropeDims", 2, plan.key_dim);
  plan.turn.frequencies = array_arg<double>(given.Get("ropeFrequencies"), "ropeFrequencies");
  if (plan.turn.frequencies.size() * 2 != static_cast<size_t>(plan.turn.dims))
    throw Failure("KVFOLD_ARGUMENT", "ropeFrequencies must have dims / 2 entries");
  return plan;
}

// createTensors(device, layers, capacity, threads): a cache of our own, on a device by name.
Napi::Value create_tensors(const Napi::CallbackInfo &info) {
  const std::string name = string_arg(info[0], "device");
  ggml_backend_dev_t device = ggml_backend_dev_by_name(name.c_str());
  if (device == nullptr) throw Failure("KVFOLD_ARGUMENT", "there is no device " + name);
  if (!info[1].IsArray()) throw Failure("KVFOLD_ARGUMENT", "layers must be an array");
  const auto given = info[1].As<Napi::Array>();
  if (given.Length() < 1 || given.Length() > 4096) throw Failure("KVFOLD_ARGUMENT", "a cache has 1 to 4096 layers");
  std::vector<LayerPlan> layers;
  for (uint32_t i = 0; i < given.Length(); i++) layers.push_back(layer_arg(given.Get(i).ToObject()));
  const int64_t capacity = integer_arg(info[2], "capacity", 1, KVFOLD_MAX_CONTEXT);
  const auto threads = static_cast<int>(integer_arg(info[3], "threads", 1, 512));
  return wrap(info.Env(), std::make_shared<Tensors>(device, threads, layers, capacity));
}

// downloadTensor(tensors, layer, kind): all bytes. Own tensors only.
Napi::Value download_tensor(const Napi::CallbackInfo &info) {
  const auto tensors = tensors_arg(info[0]);
  const auto layer = static_cast<uint32_t>(integer_arg(info[1], "layer", 0, 4095));
  const auto kind = static_cast<uint32_t>(integer_arg(info[2], "kind", 0, 1));
  return to_array<uint8_t>(info.Env(), (*tensors)->download(layer, kind));
}

// uploadTensor(tensors, layer, kind, bytes): own tensors only.
Napi::Value upload_tensor(const Napi::CallbackInfo &info) {
  const auto tensors = tensors_arg(info[0]);
  const auto layer = static_cast<uint32_t>(integer_arg(info[1], "layer", 0, 4095));
  const auto kind = static_cast<uint32_t>(integer_arg(info[2], "kind", 0, 1));
  (*tensors)->upload(layer, kind, array_arg<uint8_t>(info[3], "bytes"));
  return info.Env().Undefined();
}

// readSlices(tensors, layer, kind, firstHead, heads, cells): promise of raw bytes [cells, heads, slice bytes].
Napi::Value read_slices(const Napi::CallbackInfo &info) {
  auto tensors = tensors_arg(info[0]);
  const auto layer = static_cast<uint32_t>(integer_arg(info[1], "layer", 0, 4095));
  const auto kind = static_cast<uint32_t>(integer_arg(info[2], "kind", 0, 1));
  const int64_t first_head = integer_arg(info[3], "firstHead", 0, 4095);
  const int64_t heads = integer_arg(info[4], "heads", 1, 4096);
  const auto cells = std::make_shared<std::vector<int32_t>>(array_arg<int32_t>(info[5], "cells"));
  using Result = std::vector<uint8_t>;
  return Job<Result>::start(
      info.Env(),
      [tensors = std::move(tensors), layer, kind, first_head, heads, cells]() {
        return (*tensors)->read(layer, kind, first_head, heads, *cells);
      },
      [](Napi::Env env, Result &bytes) { return to_array<uint8_t>(env, bytes); });
}

}  // namespace

void register_tensors(Napi::Env env, Napi::Object exports) {
  exports.Set("cacheTensors", Napi::Function::New(env, guarded<cache_tensors>));
  exports.Set("createTensors", Napi::Function::New(env, guarded<create_tensors>));
  exports.Set("downloadTensor", Napi::Function::New(env, guarded<download_tensor>));
  exports.Set("uploadTensor", Napi::Function::New(env, guarded<upload_tensor>));
  exports.Set("readSlices", Napi::Function::New(env, guarded<read_slices>));
}

}  // namespace kvfold

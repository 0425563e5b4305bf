// Cache memory at the border: Externals of type kvfold_memory.
#include "addon/memory.h"

#include <memory>
#include <mutex>
#include <set>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace addon {
namespace {

const napi_type_tag kMemoryTag = {KVFOLD_MEMORY_TAG_LOWER, KVFOLD_MEMORY_TAG_UPPER};

/// Memories that were made here, so that no foreign one can be released as if it were ours. Threads of Node share it.
class OwnMemories {
 public:
  void add(const kvfold_memory *memory) {
    std::lock_guard<std::mutex> lock(mutex_);
    known_.insert(memory);
  }
  void remove(const kvfold_memory *memory) {
    std::lock_guard<std::mutex> lock(mutex_);
    known_.erase(memory);
  }
  bool has(const kvfold_memory *memory) {
    std::lock_guard<std::mutex> lock(mutex_);
    return known_.count(memory) != 0;
  }
  static OwnMemories &instance() {
    static auto *memories = new OwnMemories();  // never destroyed: finalizers may run late
    return *memories;
  }

 private:
  std::mutex mutex_;
  std::set<const kvfold_memory *> known_;
};

/// A memory over typed arrays. The arrays are held, so their bytes outlive every job that uses the External.
struct ArrayMemory {
  kvfold_memory memory{};
  Layers shapes;
  std::vector<Napi::ObjectReference> arrays;

  ArrayMemory() { OwnMemories::instance().add(&memory); }
  ~ArrayMemory() { OwnMemories::instance().remove(&memory); }
};

kvfold_memory *tagged_memory(const Napi::Value &value) {
  if (!value.IsExternal() || !value.As<Napi::External<kvfold_memory>>().CheckTypeTag(&kMemoryTag))
    throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT, "the memory is not a cache memory of kvfold");
  return value.As<Napi::External<kvfold_memory>>().Data();
}

uint32_t u32_property(const Napi::Object &object, const char *name) {
  return static_cast<uint32_t>(integer_argument(object.Get(name), name, UINT32_MAX));
}

kvfold_memory_layer layer_of(const Napi::Object &object) {
  kvfold_memory_layer layer{};
  layer.kv_heads = u32_property(object, "kvHeads");
  layer.key_dim = u32_property(object, "keyDim");
  layer.value_dim = u32_property(object, "valueDim");
  layer.key_type = static_cast<int32_t>(integer_argument(object.Get("keyType"), "keyType", INT32_MAX));
  layer.value_type = static_cast<int32_t>(integer_argument(object.Get("valueType"), "valueType", INT32_MAX));
  layer.value_transposed = flag_argument(object.Get("valueTransposed"), "valueTransposed") ? 1 : 0;
  layer.rope_pairing = u32_property(object, "ropePairing");
  layer.rope_dims = u32_property(object, "ropeDims");
  layer.hadamard_key = u32_property(object, "hadamardKey");
  layer.hadamard_value = u32_property(object, "hadamardValue");
  return layer;
}

void attach(const Napi::Value &value, const char *name, ArrayMemory *owner, void **data, uint64_t *bytes) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT, std::string(name) + " must be Uint8Arrays");
  size_t length = 0;
  const napi_status status = napi_get_typedarray_info(value.Env(), value, nullptr, &length, data, nullptr, nullptr);
  if (status != napi_ok) throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT, std::string(name) + " cannot be read");
  *bytes = length;
  owner->arrays.push_back(Napi::Persistent(value.As<Napi::Object>()));
}

}  // namespace

const kvfold_memory *memory_argument(const Napi::Value &value) {
  const kvfold_memory *memory = tagged_memory(value);
  kvfold_error error{};
  throw_unless_ok(value.Env(), kvfold_check_memory(memory, &error), error);
  return memory;
}

Layers layers_argument(const Napi::Value &value) {
  const Napi::Array array = array_argument(value, "layers");
  if (array.Length() == 0 || array.Length() > KVFOLD_MAX_LAYERS)
    throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT,
                "a cache has 1 to " + std::to_string(KVFOLD_MAX_LAYERS) + " layers");
  Layers result;
  result.frequencies.resize(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::Object object = object_argument(array.Get(i), "layer");
    kvfold_memory_layer layer = layer_of(object);
    result.frequencies[i] = copy_array<double>(object.Get("ropeFrequencies"), "ropeFrequencies", true);
    if (layer.rope_pairing != KVFOLD_ROPE_NONE && result.frequencies[i].size() != layer.rope_dims / 2)
      throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT, "layer " + std::to_string(i) + " needs one frequency a pair");
    layer.rope_frequencies = result.frequencies[i].empty() ? nullptr : result.frequencies[i].data();
    result.layers.push_back(layer);
  }
  return result;
}

/// createMemory(layers, capacity, keys, values) -> External
Napi::Value create_memory(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  auto owner = std::make_unique<ArrayMemory>();
  owner->shapes = layers_argument(info[0]);
  const Napi::Array keys = array_argument(info[2], "keys"), values = array_argument(info[3], "values");
  std::vector<kvfold_memory_layer> &layers = owner->shapes.layers;
  if (keys.Length() != layers.size() || values.Length() != layers.size())
    throw_error(env, KVFOLD_STATUS_ARGUMENT, "keys and values need one array a layer");
  for (uint32_t i = 0; i < layers.size(); i++) {
    attach(keys.Get(i), "keys", owner.get(), &layers[i].keys, &layers[i].key_bytes);
    attach(values.Get(i), "values", owner.get(), &layers[i].values, &layers[i].value_bytes);
  }
  kvfold_memory &memory = owner->memory;
  memory.abi = KVFOLD_MEMORY_ABI;
  memory.struct_bytes = sizeof(kvfold_memory);
  memory.layer_bytes = sizeof(kvfold_memory_layer);
  memory.layer_count = static_cast<uint32_t>(layers.size());
  memory.capacity = static_cast<uint32_t>(integer_argument(info[1], "capacity", UINT32_MAX));
  memory.alive = 1;
  memory.layers = layers.data();
  kvfold_error error{};
  throw_unless_ok(env, kvfold_check_memory(&memory, &error), error);
  const auto external = Napi::External<kvfold_memory>::New(
      env, &memory, [](Napi::Env, kvfold_memory *, ArrayMemory *held) { delete held; }, owner.get());
  owner.release();
  external.TypeTag(&kMemoryTag);
  return external;
}

/// releaseMemory(external): later jobs on a memory of createMemory are refused; running ones end undisturbed.
Napi::Value release_memory(const Napi::CallbackInfo &info) {
  kvfold_memory *memory = tagged_memory(info[0]);
  if (!OwnMemories::instance().has(memory))
    throw_error(info.Env(), KVFOLD_STATUS_ARGUMENT, "this memory belongs to somebody else, who has to free it");
  memory->alive = 0;
  return info.Env().Undefined();
}

/// describeMemory(external) -> { capacity, layers }: what the owner of the memory says about it.
Napi::Value describe_memory(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const kvfold_memory *memory = memory_argument(info[0]);
  Napi::Array layers = Napi::Array::New(env, memory->layer_count);
  for (uint32_t i = 0; i < memory->layer_count; i++) {
    const kvfold_memory_layer &layer = memory->layers[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("kvHeads", layer.kv_heads);
    object.Set("keyDim", layer.key_dim);
    object.Set("valueDim", layer.value_dim);
    object.Set("keyType", layer.key_type);
    object.Set("valueType", layer.value_type);
    object.Set("valueTransposed", Napi::Boolean::New(env, layer.value_transposed != 0));
    object.Set("ropePairing", layer.rope_pairing);
    object.Set("ropeDims", layer.rope_dims);
    object.Set("hadamardKey", layer.hadamard_key);
    object.Set("hadamardValue", layer.hadamard_value);
    Napi::Value frequencies = env.Null();
    if (layer.rope_pairing != KVFOLD_ROPE_NONE) {
      Napi::Float64Array copy = Napi::Float64Array::New(env, layer.rope_dims / 2);
      std::copy(layer.rope_frequencies, layer.rope_frequencies + layer.rope_dims / 2, copy.Data());
      frequencies = copy;
    }
    object.Set("ropeFrequencies", frequencies);
    layers.Set(i, object);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("capacity", memory->capacity);
  result.Set("layers", layers);
  return result;
}

}  // namespace addon
}  // namespace kvfold

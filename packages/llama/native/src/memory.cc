// Hands the tensors of a stream to an executor.
#include "memory.h"

#include "context.h"
#include "ggml.h"

namespace kvfold {

// Rotation frequencies come from TypeScript, where the formula lives: one Float64Array a layer, empty without RoPE.
std::vector<std::vector<double>> frequencies_arg(const Napi::Value &value, const CacheInfo &cache) {
  if (!value.IsArray() || value.As<Napi::Array>().Length() != cache.layers.size())
    throw Failure("KVFOLD_ARGUMENT", "frequencies must be an array with one entry a layer");
  std::vector<std::vector<double>> all;
  for (uint32_t i = 0; i < cache.layers.size(); i++) {
    all.push_back(array_arg<double>(value.As<Napi::Array>().Get(i), "frequencies"));
    const LayerFacts &facts = cache.layers[i].facts;
    if (all.back().size() != (facts.rotated ? static_cast<size_t>(facts.rope.dims / 2) : 0))
      throw Failure("KVFOLD_ARGUMENT", "frequencies of a layer must have dims / 2 entries");
  }
  return all;
}

namespace {

kvfold_memory_layer layer_of(const CacheInfo &cache, const CacheLayer &layer, uint32_t stream,
                             const std::vector<double> &frequencies) {
  const LayerFacts &facts = layer.facts;
  kvfold_memory_layer out{};
  out.kv_heads = static_cast<uint32_t>(facts.kv_heads);
  out.key_dim = static_cast<uint32_t>(facts.key_dim);
  out.value_dim = static_cast<uint32_t>(facts.value_dim);
  out.key_type = facts.key->type;
  out.value_type = facts.value->type;
  out.value_transposed = cache.values_transposed ? 1 : 0;
  if (facts.rotated) {
    out.rope_pairing = facts.rope.mode == GGML_ROPE_TYPE_NEOX ? KVFOLD_ROPE_HALF : KVFOLD_ROPE_INTERLEAVED;
    out.rope_dims = static_cast<uint32_t>(facts.rope.dims);
    out.rope_frequencies = frequencies.data();
  }
  out.hadamard_key = static_cast<uint32_t>(facts.hadamard_key);
  out.hadamard_value = static_cast<uint32_t>(facts.hadamard_value);
  // A stream is one slab of the tensor. Transposed values may be padded to the widest layer; the slab is then larger
  // than the values in it, which only its first rows hold.
  out.keys = static_cast<uint8_t *>(facts.key->data) + stream * facts.key->nb[2];
  out.key_bytes = facts.key->nb[2];
  out.values = static_cast<uint8_t *>(facts.value->data) + stream * facts.value->nb[2];
  out.value_bytes = facts.value->nb[2];
  // Only host caches come here (foldable_cache). A CUDA cache would be KVFOLD_LOCATION_CUDA, with the number in the name
  // ("CUDA0") of ggml_backend_buft_get_device(ggml_backend_buffer_get_type(facts.key->buffer)): its data pointers are
  // device addresses already.
  out.location = KVFOLD_LOCATION_HOST;
  out.device = 0;
  return out;
}

std::shared_ptr<MemoryBlock> make_block(const CacheInfo &cache, uint32_t stream,
                                        std::vector<std::vector<double>> frequencies) {
  auto block = std::make_shared<MemoryBlock>();
  block->frequencies = std::move(frequencies);
  for (size_t i = 0; i < cache.layers.size(); i++)
    block->layers.push_back(layer_of(cache, cache.layers[i], stream, block->frequencies[i]));
  block->memory.abi = KVFOLD_MEMORY_ABI;
  block->memory.struct_bytes = sizeof(kvfold_memory);
  block->memory.layer_bytes = sizeof(kvfold_memory_layer);
  block->memory.layer_count = static_cast<uint32_t>(block->layers.size());
  block->memory.capacity = cache.cells;
  block->memory.alive = 1;
  block->memory.layers = block->layers.data();
  return block;
}

// memoryOf(context, sequence, frequencies): External of a kvfold_memory with KVFOLD_MEMORY_TAG.
Napi::Value memory_of(const Napi::CallbackInfo &info) {
  const auto context = context_arg(info[0]);
  const CacheInfo &cache = (*context)->foldable_cache();
  if (!cache.host_memory) throw Failure("KVFOLD_UNSUPPORTED", "the cache lies in the memory of a device");
  const uint32_t stream = stream_of(cache, sequence_arg(*context, info[1]));
  auto &block = (*context)->memories.at(stream);
  if (block == nullptr) block = make_block(cache, stream, frequencies_arg(info[2], cache));
  auto external = Napi::External<kvfold_memory>::New(
      info.Env(), &block->memory,
      [](Napi::Env, kvfold_memory *, std::shared_ptr<MemoryBlock> *held) { delete held; },
      new std::shared_ptr<MemoryBlock>(block));
  const napi_type_tag tag = {KVFOLD_MEMORY_TAG_LOWER, KVFOLD_MEMORY_TAG_UPPER};
  external.TypeTag(&tag);
  return external;
}

}  // namespace

void register_memory(Napi::Env env, Napi::Object exports) {
  exports.Set("memoryOf", Napi::Function::New(env, guarded<memory_of>));
}

}  // namespace kvfold

// What one layer must look like before anything is computed with it; its buffers are not looked at.
#include <cmath>

#include "common/error.h"
#include "common/tensor.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace {

kvfold_status check_rope(const kvfold_memory_layer &layer, uint32_t index, kvfold_error *error) {
  if (layer.rope_pairing == KVFOLD_ROPE_NONE) return KVFOLD_OK;
  if (layer.rope_pairing > KVFOLD_ROPE_HALF)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u has the unknown rope pairing %u", index, layer.rope_pairing);
  if (layer.rope_dims == 0 || layer.rope_dims % 2 != 0 || layer.rope_dims > layer.key_dim)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u rotates %u of %u channels; an even number of them is needed",
                index, layer.rope_dims, layer.key_dim);
  if (layer.rope_frequencies == nullptr)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u has a rope without frequencies", index);
  for (uint32_t i = 0; i < layer.rope_dims / 2; i++) {
    if (!std::isfinite(layer.rope_frequencies[i]))
      return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u: rope frequency %u is not finite", index, i);
  }
  return KVFOLD_OK;
}

kvfold_status check_hadamard(uint32_t block, uint32_t dim, uint32_t index, kvfold_error *error) {
  if (block == 0) return KVFOLD_OK;
  if ((block & (block - 1)) != 0 || dim % block != 0)
    return fail(error, KVFOLD_STATUS_ARGUMENT,
                "layer %u: Hadamard block %u is not a power of two that divides %u channels", index, block, dim);
  return KVFOLD_OK;
}

kvfold_status check_kind(const kvfold_memory_layer &layer, uint32_t index, uint32_t kind, kvfold_error *error) {
  const bool keys = kind == KVFOLD_KEYS;
  const char *name = keys ? "keys" : "values";
  const int32_t type = keys ? layer.key_type : layer.value_type;
  const uint32_t dim = keys ? layer.key_dim : layer.value_dim;
  const TypeSize size = type_size(type);
  if (size.bytes == 0)
    return fail(error, KVFOLD_STATUS_UNSUPPORTED, "layer %u: %s have the unknown type %d", index, name, type);
  if (dim == 0 || dim > KVFOLD_MAX_HEAD_DIM)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u: %s have %u channels a head, allowed are 1 to %u", index,
                name, dim, KVFOLD_MAX_HEAD_DIM);
  if (dim % size.channels != 0)
    return fail(error, KVFOLD_STATUS_UNSUPPORTED,
                "layer %u: %s have %u channels a head, which blocks of %u do not divide", index, name, dim,
                size.channels);
  return check_hadamard(keys ? layer.hadamard_key : layer.hadamard_value, dim, index, error);
}

}  // namespace
}  // namespace kvfold

using namespace kvfold;

extern "C" kvfold_status kvfold_check_layer(const kvfold_memory_layer *layer, uint32_t index, kvfold_error *error) {
  if (layer->kv_heads == 0 || layer->kv_heads > KVFOLD_MAX_HEADS)
    return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u has %u KV heads, allowed are 1 to %u", index, layer->kv_heads,
                KVFOLD_MAX_HEADS);
  if (kvfold_status status = check_kind(*layer, index, KVFOLD_KEYS, error)) return status;
  if (kvfold_status status = check_kind(*layer, index, KVFOLD_VALUES, error)) return status;
  if (layer->location > KVFOLD_LOCATION_CUDA)
    return fail(error, KVFOLD_STATUS_UNSUPPORTED, "layer %u lies in memory of the unknown kind %u", index,
                layer->location);
  if (layer->value_transposed != 0 && is_block_type(layer->value_type))
    return fail(error, KVFOLD_STATUS_UNSUPPORTED, "layer %u: transposed values of a block type do not exist", index);
  return check_rope(*layer, index, error);
}

// A cache in host memory, filled with numbers in [-1, 1).
#include "cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "common/error.h"
#include "common/tensor.h"
#include "reference/convert.h"

namespace kvfold {
namespace bench {
namespace {

constexpr size_t kAlignment = 64;        // as ggml aligns its buffers
constexpr uint32_t kDifferentCells = 512;  // the others repeat them: encoding more would take longer than timing

/// [kDifferentCells, heads, slice]
std::vector<uint8_t> random_rows(const Tensor &tensor, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> rows(kDifferentCells * tensor.row_bytes);
  std::vector<double> values(tensor.dim);
  for (size_t i = 0; i < size_t{kDifferentCells} * tensor.heads; i++) {
    for (double &value : values) value = static_cast<double>(random()) / 2147483648.0 - 1;
    reference::put(tensor.type, values.data(), values.size(), rows.data() + i * tensor.slice_bytes);
  }
  return rows;
}

/// Every layer begins at another cell of `rows`, so that no two are alike.
void fill(const Tensor &tensor, const std::vector<uint8_t> &rows, size_t shift) {
  const size_t element = tensor.element_bytes, channels = size_t{tensor.heads} * tensor.dim;
  if (!tensor.transposed) {
    for (size_t c = 0; c < tensor.capacity; c++)
      std::memcpy(tensor.slice(c, 0), rows.data() + (c + shift) % kDifferentCells * tensor.row_bytes, tensor.row_bytes);
    return;
  }
  for (size_t j = 0; j < channels; j++) {
    for (size_t c = 0; c < tensor.capacity; c++)
      std::memcpy(tensor.channel(j) + c * element,
                  rows.data() + (c + shift) % kDifferentCells * tensor.row_bytes + j * element, element);
  }
}

}  // namespace

uint64_t Cache::bytes_of(const Request &request, uint32_t layers) {
  const TypeSize size = type_size(request.type);
  const Shape &shape = request.shape;
  if (size.bytes == 0 || shape.head_dim % size.channels != 0) return 0;
  size_t bytes = 0;  // heads and channels are at most 2^12 and 2^13
  const size_t row = size_t{shape.kv_heads} * (shape.head_dim / size.channels) * size.bytes;
  if (!multiply(row, size_t{2} * layers, &bytes) || !multiply(bytes, request.cells, &bytes)) return 0;
  return bytes;
}

uint8_t *Cache::allocate(size_t bytes) {
  Scratch<uint8_t> &buffer = buffers_.emplace_back();
  if (!buffer.allocate(bytes + kAlignment)) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(buffer.data());
  return buffer.data() + (kAlignment - address % kAlignment) % kAlignment;
}

kvfold_status Cache::make(const Request &request, uint32_t layers, kvfold_error *error) {
  const Shape &shape = request.shape;
  kvfold_memory_layer layer{};
  layer.kv_heads = shape.kv_heads;
  layer.key_dim = layer.value_dim = shape.head_dim;
  layer.key_type = layer.value_type = request.type;
  layer.value_transposed = request.transposed ? 1 : 0;
  layer.rope_pairing = KVFOLD_ROPE_HALF;
  layer.rope_dims = shape.head_dim / 2 * 2;
  for (uint32_t i = 0; i < layer.rope_dims / 2; i++)
    frequencies_.push_back(std::pow(10000.0, -2.0 * i / layer.rope_dims));
  layer.rope_frequencies = frequencies_.data();
  if (kvfold_status status = kvfold_check_layer(&layer, 0, error)) return status;
  for (uint32_t c = 0; c < request.cells; c++) {
    slots_.push_back(c);
    positions_.push_back(static_cast<int32_t>(c));
  }
  layers_.assign(layers, layer);
  memory_ = {KVFOLD_MEMORY_ABI, sizeof(kvfold_memory), sizeof(kvfold_memory_layer), layers, request.cells, 1,
             layers_.data()};
  const Tensor keys = tensor_of(memory_, 0, KVFOLD_KEYS);
  key_row_ = static_cast<double>(keys.row_bytes);
  const size_t bytes = keys.row_bytes * request.cells;
  const std::vector<uint8_t> key_rows = random_rows(keys, 1), value_rows = random_rows(keys, 2);
  for (uint32_t l = 0; l < layers; l++) {
    layers_[l].keys = allocate(bytes);
    layers_[l].values = allocate(bytes);
    layers_[l].key_bytes = layers_[l].value_bytes = bytes;
    if (layers_[l].keys == nullptr || layers_[l].values == nullptr) return fail_memory(error, "the cache");
    fill(tensor_of(memory_, l, KVFOLD_KEYS), key_rows, 7 * l);
    fill(tensor_of(memory_, l, KVFOLD_VALUES), value_rows, 11 * l);
  }
  return kvfold_check_memory(&memory_, error);
}

}  // namespace bench
}  // namespace kvfold

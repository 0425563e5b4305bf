// Slices in double: load, store, rotate, Hadamard.
#include "reference/rows.h"

#include <cmath>
#include <cstring>

#include "reference/convert.h"

namespace kvfold {
namespace reference {

void load_slice(const Tensor &tensor, size_t slot, size_t head, uint8_t *bytes) {
  if (!tensor.transposed) {
    std::memcpy(bytes, tensor.slice(slot, head), tensor.slice_bytes);
    return;
  }
  for (size_t j = 0; j < tensor.dim; j++) {
    const uint8_t *channel = tensor.channel(head * tensor.dim + j);
    std::memcpy(bytes + j * tensor.element_bytes, channel + slot * tensor.element_bytes, tensor.element_bytes);
  }
}

void store_slice(const Tensor &tensor, size_t slot, size_t head, const uint8_t *bytes) {
  if (!tensor.transposed) {
    std::memcpy(tensor.slice(slot, head), bytes, tensor.slice_bytes);
    return;
  }
  for (size_t j = 0; j < tensor.dim; j++) {
    uint8_t *channel = tensor.channel(head * tensor.dim + j);
    std::memcpy(channel + slot * tensor.element_bytes, bytes + j * tensor.element_bytes, tensor.element_bytes);
  }
}

std::vector<double> decode(const Tensor &tensor, const uint8_t *slice) {
  std::vector<double> values(tensor.dim);
  for (size_t j = 0; j < tensor.dim; j++) values[j] = get(tensor.type, slice, j);
  return values;
}

void rotate(const kvfold_memory_layer &layer, double delta, std::vector<double> *key) {
  if (layer.rope_pairing == KVFOLD_ROPE_NONE) return;
  const size_t pairs = layer.rope_dims / 2;
  for (size_t i = 0; i < pairs; i++) {
    const bool interleaved = layer.rope_pairing == KVFOLD_ROPE_INTERLEAVED;
    double &a = (*key)[interleaved ? 2 * i : i];
    double &b = (*key)[interleaved ? 2 * i + 1 : i + pairs];
    const double angle = delta * layer.rope_frequencies[i];
    const double x = a, y = b;
    a = x * std::cos(angle) - y * std::sin(angle);
    b = x * std::sin(angle) + y * std::cos(angle);
  }
}

void hadamard(size_t block, std::vector<double> *values) {
  if (block == 0) return;
  const std::vector<double> x = *values;
  for (size_t i = 0; i < x.size(); i++) {
    const size_t base = i / block * block;
    double sum = 0;
    for (size_t j = 0; j < block; j++) {
      bool odd = false;  // parity of the common bits of row and column
      for (size_t common = (i - base) & j; common != 0; common &= common - 1) odd = !odd;
      sum += odd ? -x[base + j] : x[base + j];
    }
    (*values)[i] = sum / std::sqrt(static_cast<double>(block));
  }
}

}  // namespace reference
}  // namespace kvfold

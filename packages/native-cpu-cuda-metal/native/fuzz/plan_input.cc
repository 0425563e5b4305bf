// Bytes of a fuzzer as a memory, a target and a plan.
#include "plan_input.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "break_input.h"
#include "bytes.h"
#include "common/tensor.h"
#include "reference/convert.h"

namespace fuzz {
namespace {

using cases::Case;

constexpr int32_t kTypes[] = {KVFOLD_F16,  KVFOLD_F32,  KVFOLD_BF16, KVFOLD_Q8_0,
                              KVFOLD_Q4_0, KVFOLD_Q4_1, KVFOLD_Q5_0, KVFOLD_Q5_1};
constexpr uint8_t kGuard = 0xc3;

uint32_t dim_of(int32_t type, Bytes *bytes) {
  const uint32_t dim = kvfold::is_block_type(type) ? 32 : 8;
  return dim * (1 + bytes->below(3));
}

kvfold_memory_layer layer_of(Bytes *bytes) {
  kvfold_memory_layer layer{};
  layer.kv_heads = 1 + bytes->below(2);
  layer.key_type = kTypes[bytes->below(8)];
  layer.value_type = kTypes[bytes->below(8)];
  layer.key_dim = dim_of(layer.key_type, bytes);
  layer.value_dim = dim_of(layer.value_type, bytes);
  layer.value_transposed = bytes->coin() && !kvfold::is_block_type(layer.value_type) ? 1 : 0;
  layer.rope_pairing = bytes->below(3);
  layer.rope_dims = layer.rope_pairing == KVFOLD_ROPE_NONE ? 0 : 2 * (1 + bytes->below(layer.key_dim / 2));
  layer.hadamard_key = bytes->coin() ? 8 : 0;
  layer.hadamard_value = bytes->coin() ? 8 : 0;
  return layer;
}

/// Numbers of [-1, 1), or any bits at all.
void fill(const kvfold::Tensor &tensor, uint32_t capacity, uint8_t seed) {
  std::vector<double> values(tensor.dim);
  std::vector<uint8_t> slice(tensor.slice_bytes);
  uint32_t state = seed + 1u;
  for (uint32_t slot = 0; slot < capacity; slot++) {
    for (uint32_t head = 0; head < tensor.heads; head++) {
      for (double &value : values) {
        state = state * 1664525u + 1013904223u;
        value = static_cast<double>(state >> 8) / (1 << 23) - 1;
      }
      kvfold::reference::put(tensor.type, values.data(), values.size(), slice.data());
      for (size_t i = 0; i < slice.size() && seed >= 224; i++) slice[i] = static_cast<uint8_t>(state >> (i % 24));
      for (size_t b = 0; b < slice.size() && !tensor.transposed; b++) tensor.slice(slot, head)[b] = slice[b];
      for (size_t j = 0; j < tensor.dim && tensor.transposed; j++)
        std::memcpy(tensor.channel(head * tensor.dim + j) + slot * tensor.element_bytes,
                    slice.data() + j * tensor.element_bytes, tensor.element_bytes);
    }
  }
}

void make_memory(Case *made, uint32_t cells, Bytes *bytes) {
  const uint32_t layers = 1 + bytes->below(2), capacity = cells + bytes->below(8);
  for (uint32_t l = 0; l < layers; l++) made->layers.push_back(layer_of(bytes));
  made->frequencies.resize(layers);
  made->buffers.resize(size_t{2} * layers);
  made->memory = {KVFOLD_MEMORY_ABI, sizeof(kvfold_memory), sizeof(kvfold_memory_layer), layers, capacity, 1,
                  made->layers.data()};
  for (uint32_t l = 0; l < layers; l++) {
    for (uint32_t i = 0; i < made->layers[l].rope_dims / 2; i++)
      made->frequencies[l].push_back(std::pow(10000.0, -2.0 * i / made->layers[l].rope_dims));
  }
  for (uint32_t i = 0; i < made->buffers.size(); i++) {
    const kvfold::Tensor shape = kvfold::tensor_of(made->memory, i / 2, i % 2);
    made->buffers[i].bytes.assign(shape.row_bytes * capacity + 2 * cases::kGuardBytes, kGuard);
  }
  made->bind();
  for (uint32_t i = 0; i < made->buffers.size(); i++)
    fill(kvfold::tensor_of(made->memory, i / 2, i % 2), capacity, bytes->u8());
}

void make_cells(Case *made, uint32_t cells, Bytes *bytes) {
  const uint32_t capacity = made->memory.capacity, shift = bytes->below(capacity);
  const bool backwards = bytes->coin();
  for (uint32_t c = 0; c < cells; c++) {
    const uint32_t slot = (c + shift) % capacity;
    made->slots.push_back(backwards ? capacity - 1 - slot : slot);
    made->positions.push_back(static_cast<int32_t>(2 * c));
  }
  made->sources.resize(made->layers.size());
  made->source_spans.resize(made->layers.size());
  for (size_t l = 0; l < made->layers.size(); l++) {
    if (bytes->coin()) continue;
    for (size_t i = 0; i < size_t{made->layers[l].kv_heads} * cells; i++)
      made->sources[l].push_back(static_cast<int32_t>(bytes->u8()));
  }
}

std::vector<float> weights(const Case &made, uint32_t *scope, Bytes *bytes) {
  *scope = bytes->below(3);
  const size_t layers = made.layers.size(), heads = kvfold::most_heads(made.memory);
  const size_t groups = *scope == KVFOLD_SCOPE_ALL ? 1 : *scope == KVFOLD_SCOPE_LAYER ? layers : layers * heads;
  std::vector<float> made_weights(groups * made.members.size(), 1.0f);
  for (float &weight : made_weights) {
    const uint8_t byte = bytes->u8();
    if (byte != 0) weight = static_cast<float>(byte - 128) / 32;
  }
  return made_weights;
}

void make_shared(Case *made, uint32_t cells, Bytes *bytes) {
  made->plan.layout = KVFOLD_SHARED;
  made->plan.key_frame = bytes->below(2);
  made->offsets.push_back(0);
  for (uint32_t cell = 0; cell < cells;) {
    const uint32_t take = std::min(cells - cell, 1 + bytes->below(4));
    if (made->offsets.size() == 1 || !bytes->coin()) {
      for (uint32_t m = 0; m < take; m++) made->members.push_back(cell + m);
      made->offsets.push_back(static_cast<uint32_t>(made->members.size()));
    }
    cell += take;
  }
  made->plan.rows = static_cast<uint32_t>(made->offsets.size() - 1);
  made->key_weights = weights(*made, &made->plan.key_weights.scope, bytes);
  made->value_weights = weights(*made, &made->plan.value_weights.scope, bytes);
}

void make_composite(Case *made, uint32_t cells, Bytes *bytes) {
  made->plan.layout = KVFOLD_COMPOSITE;
  made->plan.rows = 1 + bytes->below(cells);
  made->plan.layers = made->memory.layer_count;
  made->plan.kv_heads = kvfold::most_heads(made->memory);
  for (uint32_t l = 0; l < made->plan.layers; l++) {
    uint32_t first = 0;
    for (uint32_t h = 0; h < made->plan.kv_heads; h++) {
      // entries of heads that a layer lacks repeat its first head
      const uint32_t shift = h == 0 || h < made->layers[l].kv_heads ? bytes->u8() : first;
      if (h == 0) first = shift;
      for (uint32_t r = 0; r < made->plan.rows; r++) made->members.push_back((r + shift) % cells);
    }
  }
}

void make_plan(Case *made, uint32_t cells, Bytes *bytes) {
  made->plan.cells = cells;
  if (bytes->coin()) make_composite(made, cells, bytes);
  else make_shared(made, cells, bytes);
  const uint32_t rows = made->plan.rows, shift = bytes->below(1 + made->memory.capacity - rows);
  for (uint32_t r = 0; r < rows; r++) {
    made->row_positions.push_back(static_cast<int32_t>(2 * r));
    made->counts.push_back(1);
    made->destinations.push_back(r + shift);
  }
  made->plan.dropped = cells - rows;
  const uint8_t extras = bytes->u8();
  for (uint32_t r = 0; r < rows && (extras & 1) != 0; r++) made->bias.push_back(static_cast<float>(bytes->u8()) / 32);
  for (uint32_t c = 0; c < cells && (extras & 2) != 0; c++) made->pins.push_back(bytes->u8() & 3);
  made->bind();
  const uint8_t seed = bytes->u8();
  if ((extras & 12) == 4) cases::add_fit(made, seed);
  if ((extras & 12) == 8) cases::add_values(made, seed);
}

}  // namespace

std::unique_ptr<Case> plan_input(const uint8_t *data, size_t size) {
  Bytes bytes(data, size);
  auto made = std::make_unique<Case>();
  const uint32_t cells = 1 + bytes.below(20);
  make_memory(made.get(), cells, &bytes);
  make_cells(made.get(), cells, &bytes);
  make_plan(made.get(), cells, &bytes);
  break_input(made.get(), &bytes);
  return made;
}

}  // namespace fuzz

// Breaks a valid case as the rest of the bytes says. Arrays first, because the spans are bound to them afterwards.
#include "break_input.h"

#include <cstring>

namespace fuzz {
namespace {

using cases::Case;

constexpr size_t kMostElements = 4096;

/// Interesting numbers, or any.
uint32_t number(Bytes *bytes) {
  constexpr uint32_t kNumbers[] = {0,          1,          2,          0x7f,       0x80000000, 0x7fffffff, 0xffffffff,
                                   0x7fc00000, 0x7f800000, 0xff800000, 0x7f7fffff, 0x00000001, 1u << 27,   1u << 20};
  const uint8_t kind = bytes->u8();
  if (kind < sizeof kNumbers / sizeof kNumbers[0]) return kNumbers[kind];
  return kind < 128 ? kind : bytes->u32();
}

/// A new length, or new bits for one element.
template <typename T>
void break_array(std::vector<T> *array, Bytes *bytes) {
  const uint8_t what = bytes->u8();
  if (what < 32) return array->resize(bytes->u8() % 64);
  if (what == 32) return array->resize(bytes->u32() % kMostElements);
  if (array->empty()) return;
  const uint32_t bits = number(bytes);
  std::memcpy(&(*array)[(what + 251u * bytes->u8()) % array->size()], &bits, sizeof(T) < 4 ? sizeof(T) : 4);
}

void break_arrays(Case *one, uint8_t which, Bytes *bytes) {
  const uint8_t layer = bytes->u8();
  const auto of_layer = [&](auto *all) { return all->empty() ? nullptr : &(*all)[layer % all->size()]; };
  switch (which % 18) {
    case 0: return break_array(&one->slots, bytes);
    case 1: return break_array(&one->destinations, bytes);
    case 2: return break_array(&one->positions, bytes);
    case 3: return break_array(of_layer(&one->sources), bytes);
    case 4: return break_array(&one->row_positions, bytes);
    case 5: return break_array(&one->counts, bytes);
    case 6: return break_array(&one->members, bytes);
    case 7: return break_array(&one->offsets, bytes);
    case 8: return break_array(&one->key_weights, bytes);
    case 9: return break_array(&one->value_weights, bytes);
    case 10: return break_array(&one->bias, bytes);
    case 11: return break_array(&one->pins, bytes);
    case 12: return break_array(&one->changed, bytes);
    case 13: return break_array(&one->given_values, bytes);
    case 14: return break_array(&one->cell_bias, bytes);
    case 15: return break_array(&one->sample_positions, bytes);
    case 16: return one->query_rows.empty() ? void() : break_array(of_layer(&one->query_rows), bytes);
    default:
      // the number of frequencies is not written anywhere; only their values can be wrong
      for (double &frequency : one->frequencies[layer % one->frequencies.size()]) {
        const uint64_t bits = uint64_t{number(bytes)} << 32;
        std::memcpy(&frequency, &bits, sizeof bits);
      }
  }
}

void break_layer(kvfold_memory_layer *layer, Bytes *bytes) {
  const uint8_t which = bytes->u8();
  const uint32_t value = number(bytes);
  switch (which % 14) {
    case 0: layer->kv_heads = value; return;
    case 1: layer->key_dim = value; return;
    case 2: layer->value_dim = value; return;
    case 3: layer->key_type = static_cast<int32_t>(value); return;
    case 4: layer->value_type = static_cast<int32_t>(value); return;
    case 5: layer->value_transposed = value; return;
    case 6: layer->rope_pairing = value; return;
    case 7:  // only that many frequencies exist
      layer->rope_dims = value < layer->rope_dims ? value : layer->rope_dims;
      return;
    case 8: layer->hadamard_key = value; return;
    case 9: layer->hadamard_value = value; return;
    case 10: layer->keys = nullptr; return;
    case 11: layer->values = nullptr; return;
    case 12: layer->key_bytes = value < layer->key_bytes ? value : layer->key_bytes; return;
    default:
      if (layer->values == nullptr || layer->value_bytes == 0) return;
      layer->values = static_cast<uint8_t *>(layer->values) + 1;
      layer->value_bytes--;
  }
}

void break_number(Case *one, Bytes *bytes) {
  const uint8_t which = bytes->u8();
  const uint32_t value = number(bytes);
  switch (which % 24) {
    case 0: one->plan.layout = value; return;
    case 1: one->plan.cells = value; return;
    case 2: one->plan.rows = value; return;
    case 3: one->plan.dropped = value == 0xffffffff ? UINT64_MAX : value; return;
    case 4: one->plan.key_frame = value; return;
    case 5: one->plan.key_weights.scope = value; return;
    case 6: one->plan.value_weights.scope = value; return;
    case 7: one->plan.layers = value; return;
    case 8: one->plan.kv_heads = value; return;
    case 9: one->fit.horizon = value; return;
    case 10: one->fit.max_rows = value; return;
    case 11: one->fit.holdout = value; return;
    case 12: std::memcpy(reinterpret_cast<uint8_t *>(&one->fit.lambda) + 4, &value, sizeof value); return;
    case 13: one->plan.fit = (value & 1) != 0 ? &one->fit : nullptr; return;
    case 14: one->plan.values = (value & 1) != 0 ? &one->values : nullptr; return;
    case 15: one->target.cells = value; return;
    case 16: one->target.sources = nullptr; return;
    case 17: one->target.queries = nullptr; return;
    case 18: one->sample.layer_count = value < one->sample.layer_count ? value : one->sample.layer_count; return;
    case 19:
      if (!one->query_layers.empty()) one->query_layers[value % one->query_layers.size()].heads = number(bytes);
      return;
    case 20: one->memory.capacity = value; return;
    case 21: one->memory.layer_count = value < one->memory.layer_count ? value : one->memory.layer_count; return;
    case 22: one->memory.alive = value; return;
    default: one->memory.abi = value;
  }
}

}  // namespace

void break_input(Case *one, Bytes *bytes) {
  for (uint32_t count = bytes->below(4); count > 0 && !bytes->empty(); count--)
    break_arrays(one, bytes->u8(), bytes);
  one->bind();
  while (!bytes->empty()) {
    if (bytes->below(4) == 0) break_layer(&one->layers[bytes->u8() % one->layers.size()], bytes);
    else break_number(one, bytes);
  }
}

}  // namespace fuzz

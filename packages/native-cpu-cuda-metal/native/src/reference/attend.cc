// Turning queries and attending with them, in double.
#include <new>

#include "attention.h"
#include "common/error.h"
#include "common/location.h"
#include "common/queries.h"
#include "reference/convert.h"
#include "reference/fold.h"
#include "reference/rows.h"
#include "reference/values.h"

namespace kvfold {
namespace reference {

std::vector<float> turned_head(const kvfold_turn &turn, size_t head) {
  const kvfold_memory_layer &layer = *turn.layer;
  const size_t group = turn.queries.heads / layer.kv_heads, rows = kvfold_turned_rows(&turn);
  std::vector<float> out;
  for (size_t row = 0; row < rows; row++) {
    const size_t sample = row / group, query_head = head * group + row % group;
    const uint16_t *bits = turn.queries.rows.data + (sample * turn.queries.heads + query_head) * layer.key_dim;
    std::vector<double> query;
    for (size_t j = 0; j < layer.key_dim; j++) query.push_back(f16_to_double(bits[j]) * turn.queries.scale);
    rotate(layer, static_cast<double>(turn_delta(turn, sample)), &query);
    for (double x : query) out.push_back(static_cast<float>(x));
  }
  return out;
}

std::vector<float> head_of_cells(const kvfold_memory &memory, uint32_t layer, uint32_t kind,
                                 const kvfold_u32_span &slots, size_t head) {
  const Tensor tensor = tensor_of(memory, layer, kind);
  std::vector<float> out;
  std::vector<uint8_t> bytes(tensor.slice_bytes);
  for (uint64_t c = 0; c < slots.length; c++) {
    load_slice(tensor, slots.data[c], head, bytes.data());
    std::vector<double> values = decode(tensor, bytes.data());
    if (kind == KVFOLD_KEYS) hadamard(tensor.hadamard, &values);
    for (double x : values) out.push_back(static_cast<float>(x));
  }
  return out;
}

kvfold_status turn_queries(const kvfold_turn *turn, const kvfold_options *options, float *out, kvfold_error *error) {
  try {
    for (size_t head = 0; head < turn->layer->kv_heads; head++) {
      if (cancelled(options)) return fail_aborted(error);
      for (float x : turned_head(*turn, head)) *out++ = x;
    }
    return KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "turning queries");
  }
}

namespace {

kvfold_status attend_head(const kvfold_attention &request, size_t head, const kvfold_attention_result &result,
                          kvfold_error *error) {
  const Tensor keys = tensor_of(*request.memory, request.layer, KVFOLD_KEYS);
  const Tensor values = tensor_of(*request.memory, request.layer, KVFOLD_VALUES);
  const uint64_t cells = request.slots.length, rows = request.rows, width = result.outputs == nullptr ? 0 : values.dim;
  const std::vector<float> key_rows = head_of_cells(*request.memory, request.layer, KVFOLD_KEYS, request.slots, head);
  std::vector<float> value_rows;
  if (width != 0) value_rows = head_of_cells(*request.memory, request.layer, KVFOLD_VALUES, request.slots, head);
  const kvfold_attend_input input = {request.rows,
                                     static_cast<uint32_t>(cells),
                                     keys.dim,
                                     static_cast<uint32_t>(width),
                                     {request.queries.data + head * rows * keys.dim, rows * keys.dim},
                                     {key_rows.data(), key_rows.size()},
                                     request.bias,
                                     {value_rows.data(), value_rows.size()}};
  std::vector<float> outputs(rows * width);
  const kvfold_attend_output output = {{result.maximum + head * cells, cells},
                                       {result.mean + head * cells, cells},
                                       {result.rms + head * cells, cells},
                                       {outputs.data(), outputs.size()}};
  if (kvfold_status status = kvfold_attend_reference(&input, nullptr, &output, error)) return status;
  for (uint64_t row = 0; row < rows && width != 0; row++) {
    std::vector<double> one(outputs.begin() + row * width, outputs.begin() + (row + 1) * width);
    hadamard(values.hadamard, &one);
    for (uint64_t j = 0; j < width; j++) result.outputs[(head * rows + row) * width + j] = static_cast<float>(one[j]);
  }
  return KVFOLD_OK;
}

}  // namespace

/// Not bounded: whole heads in double.
kvfold_status attend(const kvfold_attention *attention, const kvfold_options *options,
                     kvfold_attention_result *result, kvfold_error *error) {
  if (kvfold_status status = require_location(*attention->memory, KVFOLD_LOCATION_HOST, "reference", error)) return status;
  result->working_bytes = 0;
  try {
    for (size_t head = 0; head < attention->memory->layers[attention->layer].kv_heads; head++) {
      if (cancelled(options)) return fail_aborted(error);
      if (kvfold_status status = attend_head(*attention, head, *result, error)) return status;
    }
    return KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "attend");
  }
}

}  // namespace reference
}  // namespace kvfold

// attend: as many KV heads at once as the limit of memory allows; the numbers do not depend on how many.
#include <algorithm>

#include "cuda/fold.h"
#include "cuda/read.h"
#include "cuda/slice.h"
#include "cuda/softmax.h"

namespace kvfold {
namespace cuda {
namespace {

/// Undoes the Hadamard rotation of rows, a warp one row.
__global__ void __launch_bounds__(kSliceWarps *kWarp) hadamard_rows(float *rows, uint64_t count, uint32_t dim,
                                                                    uint32_t block) {
  __shared__ SliceSpace spaces[kSliceWarps];
  const uint64_t row = uint64_t{blockIdx.x} * kSliceWarps + threadIdx.x / kWarp;
  if (row >= count) return;
  float *space = spaces[threadIdx.x / kWarp].member;
  for (uint32_t j = lane_index(); j < dim; j += kWarp) space[j] = rows[row * dim + j];
  hadamard(block, space, dim);
  for (uint32_t j = lane_index(); j < dim; j += kWarp) rows[row * dim + j] = space[j];
}

struct Attending {
  const kvfold_attention &request;
  const kvfold_attention_result &result;
  ReadBuffers buffers;
  Reading keys{}, values{};
  Buffer<float> bias, queries, key_rows, value_rows, statistics, outputs;
  SoftmaxSpace space;

  Heads heads(uint32_t count) const {
    Heads out{};
    out.count = count;
    out.rows = request.rows;
    out.cells = static_cast<uint32_t>(request.slots.length);
    out.key_dim = keys.tensor.dim;
    out.value_dim = result.outputs == nullptr ? 0 : values.tensor.dim;
    out.queries = queries.data();
    out.keys = key_rows.data();
    out.values = result.outputs == nullptr ? nullptr : value_rows.data();
    out.bias = request.bias.length == 0 ? nullptr : bias.data();
    return out;
  }
  uint64_t bytes(uint32_t count) const {
    const Heads h = heads(count);
    const uint64_t floats = uint64_t{h.rows} * (h.key_dim + h.value_dim) +
                            uint64_t{h.cells} * (uint64_t{h.key_dim} + h.value_dim + 3);
    return SoftmaxSpace::bytes(h) + uint64_t{count} * floats * sizeof(float);
  }
  kvfold_status allocate(uint32_t count, kvfold_error *error) {
    const Heads h = heads(count);
    Device *device = buffers.device;
    const size_t rows = size_t{count} * h.rows, cells = size_t{count} * h.cells;
    if (kvfold_status status = bias.upload(device, request.bias.data, request.bias.length, "bias", error))
      return status;
    if (kvfold_status status = queries.allocate(device, rows * h.key_dim, "queries", error)) return status;
    if (kvfold_status status = key_rows.allocate(device, cells * h.key_dim, "keys", error)) return status;
    if (kvfold_status status = value_rows.allocate(device, cells * h.value_dim, "values", error)) return status;
    if (kvfold_status status = statistics.allocate(device, 3 * cells, "statistics", error)) return status;
    if (kvfold_status status = outputs.allocate(device, rows * h.value_dim, "outputs", error)) return status;
    return space.reserve(device, h, error);
  }

  kvfold_status run(uint32_t from, uint32_t count, const kvfold_options &options, kvfold_error *error) {
    const Heads h = heads(count);
    const Device &device = *buffers.device;
    const size_t of_queries = size_t{h.rows} * h.key_dim, of_outputs = size_t{h.rows} * h.value_dim;
    const size_t cells = size_t{count} * h.cells;
    if (kvfold_status status = device.upload(queries.data(), request.queries.data + from * of_queries,
                                             count * of_queries * sizeof(float), error))
      return status;
    if (kvfold_status status = decode_rows(device, keys, from, count, key_rows.data(), error)) return status;
    if (h.values != nullptr) {
      if (kvfold_status status = decode_rows(device, values, from, count, value_rows.data(), error)) return status;
    }
    if (kvfold_status status = check_numbers(buffers.device, h, "cells", error)) return status;
    Wanted wanted{};
    wanted.maximum = statistics.data();
    wanted.mean = wanted.maximum + cells;
    wanted.rms = wanted.mean + cells;
    wanted.outputs = h.values == nullptr ? nullptr : outputs.data();
    if (kvfold_status status = attend_heads(device, h, space, wanted, options, error)) return status;
    const float *found[] = {wanted.maximum, wanted.mean, wanted.rms};
    float *to[] = {result.maximum, result.mean, result.rms};
    for (int i = 0; i < 3; i++) {
      if (kvfold_status status =
              device.download(to[i] + size_t{from} * h.cells, found[i], cells * sizeof(float), error))
        return status;
    }
    if (h.values == nullptr) return KVFOLD_OK;
    if (values.tensor.hadamard > 1) {
      const dim3 grid(ceil_div(uint64_t{count} * h.rows, kSliceWarps));
      const cudaError_t code = launch(hadamard_rows, grid, kSliceWarps * kWarp, device.stream(), outputs.data(),
                                      uint64_t{count} * h.rows, h.value_dim, values.tensor.hadamard);
      if (kvfold_status status = check(code, "outputs", error)) return status;
    }
    return device.download(result.outputs + from * of_outputs, outputs.data(), count * of_outputs * sizeof(float),
                           error);
  }
};

}  // namespace

kvfold_status attend(const kvfold_attention *attention, const kvfold_options *options,
                     kvfold_attention_result *result, kvfold_error *error) {
  result->working_bytes = 0;
  try {
    if (cancelled(options)) return fail_aborted(error);
    Attending attending{*attention, *result, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}};
    kvfold_read read{};
    read.memory = attention->memory;
    read.layer = attention->layer;
    read.kind = KVFOLD_KEYS;
    read.slots = attention->slots;
    read.undo_hadamard = 1;
    if (kvfold_status status = attending.buffers.upload(read, &attending.keys, error)) return status;
    attending.values = attending.keys;
    attending.values.tensor = table_of(*attention->memory, attention->layer, KVFOLD_VALUES, nullptr);
    attending.values.undo_hadamard = 0;  // undone in the outputs: rows are fewer than cells
    if (kvfold_status status = check_bias(attention->bias, error)) return status;
    const uint32_t heads = attending.keys.tensor.heads;
    uint32_t count = std::min(heads, kBatch);
    const uint64_t limit = options->memory_limit;
    while (limit != 0 && count > 1 && attending.bytes(count) > limit) count = (count + 1) / 2;
    result->working_bytes = attending.bytes(count);
    if (limit != 0 && result->working_bytes > limit)
      return fail(error, KVFOLD_STATUS_PLAN_LIMIT, "attention needs %llu bytes to work in, the limit is %llu",
                  static_cast<unsigned long long>(result->working_bytes), static_cast<unsigned long long>(limit));
    if (kvfold_status status = attending.allocate(count, error)) return status;
    for (uint32_t from = 0; from < heads; from += count) {
      if (kvfold_status status = attending.run(from, std::min(count, heads - from), *options, error)) return status;
    }
    return KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "attend");
  }
}

}  // namespace cuda
}  // namespace kvfold

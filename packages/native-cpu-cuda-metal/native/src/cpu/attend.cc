// attend: one KV head after another, the pool inside, so that memory does not grow with heads.
#include "cpu/attend.h"

#include <algorithm>
#include <atomic>

#include "common/error.h"
#include "common/location.h"
#include "common/scratch.h"
#include "cpu/fold.h"
#include "cpu/pool.h"
#include "cpu/read.h"
#include "cpu/rope.h"

namespace kvfold {
namespace cpu {
namespace {

constexpr size_t kCellsOfTask = 64, kRowsOfTask = 256;

void run_on_pool(void *self, uint64_t tasks, void (*work)(void *, uint64_t, uint32_t), void *context) {
  const uint32_t threads = static_cast<const kvfold_workers *>(self)->threads;
  parallel_for(threads, static_cast<size_t>(tasks),
               [work, context](size_t task, uint32_t worker) { work(context, task, worker); });
}

/// What one layer is attended with.
struct Layer {
  const kvfold_attention &request;
  const Tensor keys, values;
  bool valued;

  size_t cells() const { return static_cast<size_t>(request.slots.length); }

  kvfold_attend_input input(size_t head, const float *key_rows, const float *value_rows) const {
    const uint64_t cell_count = request.slots.length, queries = uint64_t{request.rows} * keys.dim;
    kvfold_attend_input input{};
    input.rows = request.rows;
    input.cells = static_cast<uint32_t>(cell_count);
    input.key_dim = keys.dim;
    input.value_dim = valued ? values.dim : 0;
    input.queries = {request.queries.data + head * queries, queries};
    input.keys = {key_rows, cell_count * keys.dim};
    input.bias = request.bias;
    input.values = {value_rows, valued ? cell_count * values.dim : 0};
    return input;
  }
};

kvfold_status attend_head(const Layer &layer, size_t head, const kvfold_options &options, const AttentionRun &run,
                          float *keys, float *values, const kvfold_attention_result &result, kvfold_error *error) {
  const kvfold_u32_span &slots = layer.request.slots;
  if (!decode_head(layer.keys, slots, head, true, options, keys)) return fail_aborted(error);
  if (layer.valued && !decode_head(layer.values, slots, head, false, options, values)) return fail_aborted(error);
  const kvfold_attend_input input = layer.input(head, keys, values);
  const uint64_t cells = input.cells, outputs = uint64_t{input.rows} * input.value_dim;
  const kvfold_attend_output output = {{result.maximum + head * cells, cells},
                                       {result.mean + head * cells, cells},
                                       {result.rms + head * cells, cells},
                                       {layer.valued ? result.outputs + head * outputs : nullptr, outputs}};
  if (kvfold_status status = kvfold_attend(&input, run.options(), &output, error)) return status;
  if (!layer.valued) return KVFOLD_OK;
  parallel_for(options.threads, (input.rows + kRowsOfTask - 1) / kRowsOfTask, [&](size_t task, uint32_t) {
    const size_t dim = input.value_dim, end = std::min<size_t>(input.rows, (task + 1) * kRowsOfTask);
    for (size_t row = task * kRowsOfTask; row < end; row++)
      hadamard(layer.values.hadamard, output.outputs.data + row * dim, dim);
  });
  return KVFOLD_OK;
}

}  // namespace

AttentionRun::AttentionRun(const kvfold_options &options, uint32_t threads)
    : workers_{threads, run_on_pool, &workers_},
      attention_{&workers_, options.cancelled, options.cancelled_data, nullptr} {}

uint32_t threads_within(const kvfold_options &options, MemoryQuery query, const void *context, uint64_t *bytes,
                        kvfold_error *error) {
  for (uint32_t threads = options.threads; threads > 0; threads /= 2) {
    if (query(context, threads, bytes, error) != KVFOLD_OK) return 0;
    if (options.memory_limit == 0 || *bytes <= options.memory_limit) return threads;
  }
  fail(error, KVFOLD_STATUS_PLAN_LIMIT, "attention needs %llu bytes to work in, the limit is %llu",
       static_cast<unsigned long long>(*bytes), static_cast<unsigned long long>(options.memory_limit));
  return 0;
}

bool decode_head(const Tensor &tensor, const kvfold_u32_span &slots, size_t head, bool undo_hadamard,
                 const kvfold_options &options, float *out) {
  const size_t cells = static_cast<size_t>(slots.length);
  std::atomic<bool> stop{false};
  parallel_for(options.threads, (cells + kCellsOfTask - 1) / kCellsOfTask, [&](size_t task, uint32_t) {
    if (stop.load(std::memory_order_relaxed)) return;
    if (cancelled(&options)) return stop.store(true, std::memory_order_relaxed);
    for (size_t c = task * kCellsOfTask; c < std::min(cells, (task + 1) * kCellsOfTask); c++) {
      decode_slice(tensor, slots.data[c], head, out + c * tensor.dim);
      if (undo_hadamard) hadamard(tensor.hadamard, out + c * tensor.dim, tensor.dim);
    }
  });
  return !stop.load();
}

kvfold_status attend(const kvfold_attention *attention, const kvfold_options *options,
                     kvfold_attention_result *result, kvfold_error *error) {
  if (kvfold_status status = require_location(*attention->memory, KVFOLD_LOCATION_HOST, "cpu", error)) return status;
  const Layer layer{*attention, tensor_of(*attention->memory, attention->layer, KVFOLD_KEYS),
                    tensor_of(*attention->memory, attention->layer, KVFOLD_VALUES), result->outputs != nullptr};
  const auto memory = [](const void *context, uint32_t threads, uint64_t *bytes, kvfold_error *problem) {
    const Layer &self = *static_cast<const Layer *>(context);
    const kvfold_attend_input input = self.input(0, nullptr, nullptr);
    if (kvfold_status status = kvfold_attend_memory(&input, threads, bytes, problem)) return status;
    *bytes += sizeof(float) * (input.keys.length + input.values.length);  // at most 2^27 cells of 2^14 channels
    return KVFOLD_OK;
  };
  const uint32_t threads = threads_within(*options, memory, &layer, &result->working_bytes, error);
  if (threads == 0) return error->status;
  try {
    Scratch<float> keys, values;
    if (!keys.allocate(layer.cells() * layer.keys.dim) ||
        !values.allocate(layer.valued ? layer.cells() * layer.values.dim : 0))
      return fail_memory(error, "the rows of a head");
    const AttentionRun run(*options, threads);
    for (size_t head = 0; head < layer.keys.heads; head++) {
      if (kvfold_status status =
              attend_head(layer, head, *options, run, keys.data(), values.data(), *result, error))
        return status;
    }
    return KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "attend");
  }
}

}  // namespace cpu
}  // namespace kvfold

// Reading rows of a layer as floats: optionally out of the Hadamard basis and without rotation. A warp one slice.
#include "cuda/read.h"

#include "cuda/fold.h"
#include "cuda/slice.h"

namespace kvfold {
namespace cuda {
namespace {

/// grid: [tiles of kSliceWarps cells, heads]
__global__ void __launch_bounds__(kSliceWarps *kWarp) decode_kernel(Reading reading, uint32_t from, float *out) {
  __shared__ SliceSpace spaces[kSliceWarps];
  const uint32_t warp = threadIdx.x / kWarp;
  const uint64_t cell = uint64_t{blockIdx.x} * kSliceWarps + warp;
  if (cell >= reading.cells) return;
  const TensorTable &tensor = reading.tensor;
  const uint32_t head = from + blockIdx.y;
  float *row = spaces[warp].member;
  decode_slice(tensor, PlanTable{}, reading.slots[cell], head, row);
  const bool turn = reading.unrotate != 0 && tensor.pairs != 0;
  if (reading.undo_hadamard != 0 || turn) hadamard(tensor.hadamard, row, tensor.dim);
  if (turn) {
    const int32_t source =
        tensor.sources != nullptr ? tensor.sources[size_t{head} * reading.cells + cell] : reading.positions[cell];
    rotate(tensor.pairing, tensor.pairs, tensor.frequencies, -static_cast<int64_t>(source), nullptr,
           row);
    if (reading.undo_hadamard == 0) hadamard(tensor.hadamard, row, tensor.dim);
  }
  __syncwarp();
  float *to = out + (size_t{blockIdx.y} * reading.cells + cell) * tensor.dim;
  for (uint32_t j = lane_index(); j < tensor.dim; j += kWarp) to[j] = row[j];
}

}  // namespace

TensorTable table_of(const kvfold_memory &memory, uint32_t layer, uint32_t kind, const double *frequencies) {
  const Tensor tensor = tensor_of(memory, layer, kind);
  const kvfold_memory_layer &shape = memory.layers[layer];
  TensorTable out{};
  out.data = tensor.data;
  out.frequencies = frequencies;
  out.capacity = tensor.capacity;
  out.row_bytes = tensor.row_bytes;
  out.slice_bytes = static_cast<uint32_t>(tensor.slice_bytes);
  out.element_bytes = static_cast<uint32_t>(tensor.element_bytes);
  out.heads = tensor.heads;
  out.dim = tensor.dim;
  out.type = tensor.type;
  out.transposed = tensor.transposed ? 1 : 0;
  out.hadamard = tensor.hadamard;
  out.pairing = kind == KVFOLD_KEYS ? shape.rope_pairing : 0;
  out.pairs = out.pairing == KVFOLD_ROPE_NONE ? 0 : shape.rope_dims / 2;
  out.layer = layer;
  out.keys = kind == KVFOLD_KEYS ? 1 : 0;
  out.grain = grain_of(out);
  return out;
}

kvfold_status decode_rows(const Device &device, const Reading &reading, uint32_t from, uint32_t heads, float *out,
                          kvfold_error *error) {
  if (reading.cells == 0 || heads == 0) return KVFOLD_OK;
  const dim3 grid(ceil_div(reading.cells, kSliceWarps), heads);
  return check(launch(decode_kernel, grid, kSliceWarps * kWarp, device.stream(), reading, from, out), "reading rows",
               error);
}

kvfold_status ReadBuffers::upload(const kvfold_read &read, Reading *reading, kvfold_error *error) {
  const kvfold_memory_layer &layer = read.memory->layers[read.layer];
  if (kvfold_status status = check_location(*read.memory, error)) return status;
  if (kvfold_status status = supports(&layer, error)) return status;
  if (kvfold_status status = Device::open(layer.device, &device, error)) return status;
  const bool turn = read.unrotate != 0 && layer.rope_pairing != KVFOLD_ROPE_NONE;
  if (kvfold_status status = slots.upload(device, read.slots.data, read.slots.length, "slots", error)) return status;
  if (turn) {
    if (kvfold_status status =
            frequencies.upload(device, layer.rope_frequencies, layer.rope_dims / 2, "frequencies", error))
      return status;
    const kvfold_i32_span &from = read.sources.length != 0 ? read.sources : read.positions;
    Buffer<int32_t> &to = read.sources.length != 0 ? sources : positions;
    if (kvfold_status status = to.upload(device, from.data, from.length, "positions", error)) return status;
  }
  *reading = {table_of(*read.memory, read.layer, read.kind, frequencies.data()),
              slots.data(), positions.data(), static_cast<uint32_t>(read.slots.length), read.undo_hadamard,
              turn ? 1u : 0u};
  reading->tensor.sources = sources.data();
  return KVFOLD_OK;
}

kvfold_status read_rows(const kvfold_read *read, const kvfold_options *options, float *out, kvfold_error *error) {
  try {
    ReadBuffers buffers;
    Reading reading{};
    if (kvfold_status status = buffers.upload(*read, &reading, error)) return status;
    const size_t numbers = size_t{reading.cells} * reading.tensor.dim;
    Buffer<float> rows;
    if (kvfold_status status = rows.allocate(buffers.device, numbers, "the rows of a head", error)) return status;
    for (uint32_t head = 0; head < reading.tensor.heads; head++) {
      if (cancelled(options)) return fail_aborted(error);
      if (kvfold_status status = decode_rows(*buffers.device, reading, head, 1, rows.data(), error)) return status;
      if (kvfold_status status =
              buffers.device->download(out + head * numbers, rows.data(), numbers * sizeof(float), error))
        return status;
    }
    return KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "reading rows");
  }
}

}  // namespace cuda
}  // namespace kvfold

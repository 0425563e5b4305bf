// Reading rows of a layer as floats: optionally out of the Hadamard basis and without rotation.
#include "cpu/read.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "common/error.h"
#include "common/location.h"
#include "cpu/fold.h"
#include "cpu/pool.h"
#include "cpu/quant.h"

namespace kvfold {
namespace cpu {
namespace {

constexpr size_t kCellsOfTask = 64;

}  // namespace

void decode_slice(const Tensor &tensor, size_t slot, size_t head, float *out) {
  if (!tensor.transposed) return decode(tensor.type, tensor.slice(slot, head), out, tensor.dim);
  for (size_t j = 0; j < tensor.dim; j++)
    out[j] = decode_element(tensor.type, tensor.channel(head * tensor.dim + j) + slot * tensor.element_bytes);
}

void read_slice(const kvfold_read &read, const Tensor &tensor, size_t head, size_t cell, Angles *angles, float *out) {
  const kvfold_memory_layer &layer = read.memory->layers[read.layer];
  const bool turn = read.unrotate != 0 && layer.rope_pairing != KVFOLD_ROPE_NONE;
  decode_slice(tensor, read.slots.data[cell], head, out);
  if (read.undo_hadamard != 0 || turn) hadamard(tensor.hadamard, out, tensor.dim);
  if (!turn) return;
  const bool mapped = read.sources.length != 0;
  const int32_t source = mapped ? read.sources.data[head * read.slots.length + cell] : read.positions.data[cell];
  if (source != 0) {
    angles->set(layer, -static_cast<int64_t>(source));
    rotate(layer, *angles, out);
  }
  if (read.undo_hadamard == 0) hadamard(tensor.hadamard, out, tensor.dim);
}

kvfold_status read_rows(const kvfold_read *read, const kvfold_options *options, float *out, kvfold_error *error) {
  if (kvfold_status status = require_location(*read->memory, KVFOLD_LOCATION_HOST, "cpu", error)) return status;
  try {
    const Tensor tensor = tensor_of(*read->memory, read->layer, read->kind);
    const size_t cells = read->slots.length, dim = tensor.dim;
    std::vector<AngleSpace> angles(options->threads, AngleSpace(dim));
    for (AngleSpace &space : angles) space.bind();
    std::atomic<bool> stop{false};
    parallel_for(options->threads, (cells + kCellsOfTask - 1) / kCellsOfTask, [&](size_t task, uint32_t worker) {
      if (stop.load(std::memory_order_relaxed)) return;
      if (cancelled(options)) return stop.store(true, std::memory_order_relaxed);
      for (size_t c = task * kCellsOfTask; c < std::min(cells, (task + 1) * kCellsOfTask); c++) {
        for (size_t head = 0; head < tensor.heads; head++)
          read_slice(*read, tensor, head, c, &angles[worker].angles, out + (head * cells + c) * dim);
      }
    });
    return stop.load() ? fail_aborted(error) : KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "reading rows");
  }
}

}  // namespace cpu
}  // namespace kvfold

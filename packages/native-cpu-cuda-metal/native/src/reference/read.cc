// Reading rows and key statistics, in double.
#include <cmath>
#include <vector>

#include "common/error.h"
#include "common/location.h"
#include "common/tensor.h"
#include "reference/fold.h"
#include "reference/rows.h"

namespace kvfold {
namespace reference {
namespace {

std::vector<double> read_slice(const kvfold_read &read, const Tensor &tensor, size_t head, size_t cell) {
  std::vector<uint8_t> bytes(tensor.slice_bytes);
  load_slice(tensor, read.slots.data[cell], head, bytes.data());
  std::vector<double> values = decode(tensor, bytes.data());
  if (read.undo_hadamard != 0 || read.unrotate != 0) hadamard(tensor.hadamard, &values);
  if (read.unrotate != 0) {
    const bool mapped = read.sources.length != 0;
    const int32_t source = mapped ? read.sources.data[head * read.slots.length + cell] : read.positions.data[cell];
    rotate(read.memory->layers[read.layer], -static_cast<double>(source), &values);
    if (read.undo_hadamard == 0) hadamard(tensor.hadamard, &values);
  }
  return values;
}

double length(const std::vector<double> &vector) {
  double sum = 0;
  for (double x : vector) sum += x * x;
  return std::sqrt(sum);
}

void head_stats(const kvfold_read &read, const Tensor &tensor, size_t head, float *norm, float *mean_cosine) {
  const size_t cells = read.slots.length;
  std::vector<double> mean(tensor.dim, 0.0);
  for (size_t c = 0; c < cells; c++) {
    const std::vector<double> key = read_slice(read, tensor, head, c);
    const double size = length(key);
    norm[head * cells + c] = static_cast<float>(size);
    for (size_t j = 0; j < tensor.dim && size > 0; j++) mean[j] += key[j] / size / static_cast<double>(cells);
  }
  const double mean_size = length(mean);
  for (size_t c = 0; c < cells; c++) {
    const std::vector<double> key = read_slice(read, tensor, head, c);
    double dot = 0;
    for (size_t j = 0; j < tensor.dim; j++) dot += key[j] * mean[j];
    const double sizes = length(key) * mean_size;
    mean_cosine[head * cells + c] = sizes > 0 ? static_cast<float>(dot / sizes) : 0.0f;
  }
}

}  // namespace

kvfold_status read_rows(const kvfold_read *read, const kvfold_options *options, float *out, kvfold_error *error) {
  if (kvfold_status status = require_location(*read->memory, KVFOLD_LOCATION_HOST, "reference", error)) return status;
  try {
    const Tensor tensor = tensor_of(*read->memory, read->layer, read->kind);
    const size_t cells = read->slots.length;
    for (size_t head = 0; head < tensor.heads; head++) {
      for (size_t c = 0; c < cells; c++) {
        if (cancelled(options)) return fail_aborted(error);
        const std::vector<double> values = read_slice(*read, tensor, head, c);
        float *row = out + (head * cells + c) * tensor.dim;
        for (size_t j = 0; j < tensor.dim; j++) row[j] = static_cast<float>(values[j]);
      }
    }
    return KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "reading rows");
  }
}

kvfold_status key_stats(const kvfold_read *read, const kvfold_options *options, float *norm, float *mean_cosine,
                        kvfold_error *error) {
  if (kvfold_status status = require_location(*read->memory, KVFOLD_LOCATION_HOST, "reference", error)) return status;
  try {
    kvfold_read unrotated = *read;
    unrotated.unrotate = 1;
    unrotated.undo_hadamard = 1;
    const Tensor tensor = tensor_of(*read->memory, read->layer, KVFOLD_KEYS);
    for (size_t head = 0; head < tensor.heads; head++) {
      if (cancelled(options)) return fail_aborted(error);
      head_stats(unrotated, tensor, head, norm, mean_cosine);
    }
    return KVFOLD_OK;
  } catch (...) {
    return fail_memory(error, "key statistics");
  }
}

}  // namespace reference
}  // namespace kvfold

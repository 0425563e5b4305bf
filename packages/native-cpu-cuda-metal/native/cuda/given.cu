// Values that a plan gives, encoded into the stored slices of a part.
#include <cstring>

#include "common/queries.h"
#include "cuda/fit_kernels.h"
#include "cuda/fold.h"

namespace kvfold {
namespace cuda {
namespace {

/// Numbers of the given values before a layer.
size_t given_before(const Fold &fold, uint32_t layer) {
  const kvfold_memory &memory = *fold.target->memory;
  size_t count = 0;
  for (uint32_t l = 0; l < layer; l++) {
    for (uint32_t h = 0; h < memory.layers[l].kv_heads; h++)
      count += size_t{marked_rows(fold.plan->values->given, *fold.target, *fold.plan, l, h)} * memory.layers[l].value_dim;
  }
  return count;
}

kvfold_status store_layer(const Fold &fold, const Part &part, const TensorTable &tensor, kvfold_error *error) {
  const size_t max_heads = most_heads(*fold.target->memory);
  std::vector<uint2> cells;
  for (uint32_t h = 0; h < tensor.heads; h++) {
    for (uint32_t row = 0; row < fold.plan->rows; row++) {
      if (is_marked(fold.plan->values->given, *fold.plan, max_heads, tensor.layer, h, row)) cells.push_back({h, row});
    }
  }
  if (cells.empty()) return KVFOLD_OK;
  const float *given = fold.plan->values->data.data + given_before(fold, tensor.layer);
  uint32_t bad = kNone;
  Buffer<float> numbers;
  Buffer<uint2> places;
  Buffer<uint32_t> found;
  if (kvfold_status status = numbers.upload(part.device, given, cells.size() * tensor.dim, "given values", error))
    return status;
  if (kvfold_status status = places.upload(part.device, cells.data(), cells.size(), "given values", error))
    return status;
  if (kvfold_status status = found.upload(part.device, &bad, 1, "given values", error)) return status;
  const cudaError_t code =
      launch(store_values, dim3(ceil_div(cells.size(), kSliceWarps)), kSliceWarps * kWarp, part.device->stream(),
             tensor, part.plan, numbers.data(), places.data(), static_cast<uint32_t>(cells.size()), found.data());
  if (kvfold_status status = check(code, "storing values", error)) return status;
  if (kvfold_status status = part.device->download(&bad, found.data(), sizeof bad, error)) return status;
  if (bad == kNone) return KVFOLD_OK;
  return fail(error, KVFOLD_STATUS_PLAN_FIT, "layer %u head %u: the cache cannot hold the value given for row %u",
              tensor.layer, cells[bad].x, cells[bad].y);
}

}  // namespace

kvfold_status store_given(Fold *fold, Part *part, kvfold_error *error) {
  if (kvfold_status status = part->device->upload(part->stored_index.data(), part->stored_host.data(),
                                                  part->stored_host.size() * sizeof(uint32_t), error))
    return status;
  for (const TensorTable &tensor : part->tables) {
    if (tensor.keys != 0) continue;
    if (kvfold_status status = store_layer(*fold, *part, tensor, error)) return status;
  }
  return KVFOLD_OK;
}

}  // namespace cuda
}  // namespace kvfold

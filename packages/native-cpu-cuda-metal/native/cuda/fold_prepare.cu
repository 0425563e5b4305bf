// Prepare: splits the layers over their devices, solves or takes the values that no sum gives, and reserves all that a
// commit will need.
#include <algorithm>
#include <memory>

#include "cuda/fit.h"
#include "cuda/fold.h"
#include "cuda/slice.h"

namespace kvfold {
namespace cuda {
namespace {

kvfold_status split_layers(Fold *fold, kvfold_error *error) {
  const kvfold_memory &memory = *fold->target->memory;
  for (uint32_t l = 0; l < memory.layer_count; l++) {
    Device *device = nullptr;
    if (kvfold_status status = supports(&memory.layers[l], error)) return status;
    if (kvfold_status status = Device::open(memory.layers[l].device, &device, error)) return status;
    const auto same = [device](const std::unique_ptr<Part> &part) { return part->device == device; };
    auto part = std::find_if(fold->parts.begin(), fold->parts.end(), same);
    if (part == fold->parts.end()) {
      part = fold->parts.insert(part, std::make_unique<Part>());
      (*part)->device = device;
    }
    for (uint32_t kind : {KVFOLD_KEYS, KVFOLD_VALUES}) (*part)->tensors.push_back(2 * l + kind);
  }
  return KVFOLD_OK;
}

kvfold_status prepare_part(Fold *fold, Part *part, const kvfold_options *options, kvfold_error *error) {
  for (size_t i = 0; i < part->tensors.size(); i++) {
    if (cancelled(options)) return fail_aborted(error);
    if (fault_here(options)) return fail_fault(options, error, "before a tensor was prepared");
  }
  if (kvfold_status status = build_tables(fold, part, error)) return status;
  if (fold->plan->values != nullptr) {
    if (kvfold_status status = store_given(fold, part, error)) return status;
  }
  if (fold->plan->fit != nullptr) {
    if (kvfold_status status = fit_part(fold, part, *options, error)) return status;
  }
  if (kvfold_status status = build_entries(fold, part, error)) return status;
  if (fault_here(options)) return fail_fault(options, error, "after the tables were made");
  return cancelled(options) ? fail_aborted(error) : KVFOLD_OK;
}

kvfold_status prepare(Fold *fold, const kvfold_target &target, const kvfold_plan &plan, const kvfold_options *options,
                      kvfold_error *error) {
  if (kvfold_status status = check_location(*target.memory, error)) return status;
  fold->target = &target;
  fold->plan = &plan;
  if (kvfold_status status = split_layers(fold, error)) return status;
  fold->written = written_rows(target, plan);
  for (const auto &part : fold->parts) {
    if (kvfold_status status = prepare_part(fold, part.get(), options, error)) return status;
  }
  const auto before = [](const kvfold_fit_outcome &a, const kvfold_fit_outcome &b) {
    return a.layer != b.layer ? a.layer < b.layer : a.head < b.head;
  };
  std::sort(fold->fits.begin(), fold->fits.end(), before);
  return KVFOLD_OK;
}

}  // namespace

kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error) {
  if (kvfold_check_layer(layer, 0, error) != KVFOLD_OK) return KVFOLD_STATUS_UNSUPPORTED;
  for (uint32_t dim : {layer->key_dim, layer->value_dim}) {
    if (dim % 8 != 0 || dim > kMaxDim)
      return fail(error, KVFOLD_STATUS_UNSUPPORTED,
                  "heads of %u channels: the backend cuda takes multiples of 8 up to %u", dim, kMaxDim);
  }
  return KVFOLD_OK;
}

kvfold_status fold_prepare(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                           kvfold_fold **out, kvfold_error *error) {
  *out = nullptr;
  try {
    auto fold = std::make_unique<Fold>();
    const kvfold_status status = prepare(fold.get(), *target, *plan, options, error);
    if (status == KVFOLD_OK) *out = fold.release()->handle();
    return status;
  } catch (...) {
    return fail_memory(error, "the fold");
  }
}

kvfold_fold_report Fold::report() const {
  return {fits.empty() ? nullptr : fits.data(), fits.size(), held_bytes, working_bytes};
}

}  // namespace cuda
}  // namespace kvfold

// The fold as its definition reads: every destination slice is computed into scratch, then the old bytes are saved and
// the new ones written, slice by slice. Serial, double, no case that could be left out.
#include "reference/fold.h"

#include <new>
#include <vector>

#include "common/error.h"
#include "common/location.h"
#include "common/tensor.h"
#include "reference/convert.h"
#include "reference/image.h"
#include "reference/rows.h"
#include "reference/values.h"

namespace kvfold {
namespace reference {

namespace {

struct Place {
  const kvfold_target *target;
  const kvfold_plan *plan;
  uint32_t layer;
  uint32_t kind;
  size_t head;
};

// Written out here, not shared with the other backends, so that a mistake there shows.
double source_of(const Place &place, size_t cell) {
  const kvfold_i32_span *maps = place.target->sources;
  if (maps == nullptr || maps[place.layer].length == 0) return place.target->positions.data[cell];
  return maps[place.layer].data[place.head * place.target->cells + cell];
}

double weight_in(const Place &place, const kvfold_weights &weights, size_t m) {
  const size_t members = place.plan->members.length;
  size_t group = 0;
  if (weights.scope == KVFOLD_SCOPE_LAYER) group = place.layer;
  if (weights.scope == KVFOLD_SCOPE_HEAD) group = place.layer * most_heads(*place.target->memory) + place.head;
  return weights.data.data[group * members + m];
}

double delta_of(const Place &place, size_t row, size_t cell) {
  const kvfold_memory_layer &layer = place.target->memory->layers[place.layer];
  if (place.kind != KVFOLD_KEYS || place.plan->key_frame != KVFOLD_FRAME_TARGET) return 0;
  if (layer.rope_pairing == KVFOLD_ROPE_NONE) return 0;
  return place.plan->positions.data[row] - source_of(place, cell);
}

void copy_cell(const Place &place, const Tensor &tensor, size_t cell, uint8_t *slice) {
  load_slice(tensor, place.target->slots.data[cell], place.head, slice);
}

void shared_slice(const Place &place, const Tensor &tensor, size_t row, uint8_t *slice) {
  const kvfold_plan &plan = *place.plan;
  const kvfold_weights &weights = place.kind == KVFOLD_KEYS ? plan.key_weights : plan.value_weights;
  std::vector<double> sum(tensor.dim, 0.0);
  std::vector<uint8_t> bytes(tensor.slice_bytes);
  size_t terms = 0, last = 0;
  bool plain = true;
  for (size_t m = plan.offsets.data[row]; m < plan.offsets.data[row + 1]; m++) {
    const double weight = weight_in(place, weights, m);
    if (weight == 0) continue;
    const size_t cell = plan.members.data[m];
    const double delta = delta_of(place, row, cell);
    load_slice(tensor, place.target->slots.data[cell], place.head, bytes.data());
    std::vector<double> values = decode(tensor, bytes.data());
    if (delta != 0) {
      hadamard(tensor.hadamard, &values);
      rotate(place.target->memory->layers[place.layer], delta, &values);
      hadamard(tensor.hadamard, &values);
    }
    for (size_t j = 0; j < tensor.dim; j++) sum[j] += weight * values[j];
    plain = plain && weight == 1 && delta == 0;
    last = cell;
    terms++;
  }
  if (terms == 1 && plain) copy_cell(place, tensor, last, slice);
  else put(tensor.type, sum.data(), tensor.dim, slice);
}

/// False when cancelled.
bool compute_image(Place place, const Tensor &tensor, const kvfold_options *options, Image *image) {
  const kvfold_plan &plan = *place.plan;
  image->fresh.resize(plan.rows * tensor.row_bytes);
  image->saved.resize(plan.rows * tensor.row_bytes);
  for (size_t row = 0; row < plan.rows; row++) {
    if (cancelled(options)) return false;
    for (place.head = 0; place.head < tensor.heads; place.head++) {
      uint8_t *slice = image->fresh.data() + row * tensor.row_bytes + place.head * tensor.slice_bytes;
      if (plan.layout == KVFOLD_SHARED) {
        shared_slice(place, tensor, row, slice);
      } else {
        const size_t head = static_cast<size_t>(place.layer) * plan.kv_heads + place.head;
        copy_cell(place, tensor, plan.members.data[head * plan.rows + row], slice);
      }
    }
  }
  return true;
}

kvfold_status change_values(const NewRows &rows, const kvfold_options *options, Fold *fold, kvfold_error *error) {
  if (rows.plan.values != nullptr) return store_given(rows, error);
  return rows.plan.fit != nullptr ? fit_layer(rows, options, &fold->fits, error) : KVFOLD_OK;
}

kvfold_status prepare(const kvfold_target &target, const kvfold_plan &plan, const kvfold_options *options, Fold *fold,
                      kvfold_error *error) {
  if (kvfold_status status = require_location(*target.memory, KVFOLD_LOCATION_HOST, "reference", error)) return status;
  fold->memory = target.memory;
  fold->destinations.assign(target.destinations.data, target.destinations.data + target.destinations.length);
  fold->images.resize(size_t{2} * target.memory->layer_count);
  for (uint32_t i = 0; i < fold->images.size(); i++) {
    if (fault_here(options)) return fail_fault(options, error, "before a tensor was prepared");
    const Tensor tensor = tensor_of(*target.memory, i / 2, i % 2);
    const Place place = {&target, &plan, i / 2, i % 2, 0};
    if (!compute_image(place, tensor, options, &fold->images[i])) return fail_aborted(error);
    if (i % 2 == KVFOLD_VALUES) {
      const NewRows rows = {target, plan, i / 2, fold->images[i - 1].fresh.data(), fold->images[i].fresh.data()};
      if (kvfold_status status = change_values(rows, options, fold, error)) return status;
    }
    if (fault_here(options)) return fail_fault(options, error, "after a tensor was prepared");
  }
  return cancelled(options) ? fail_aborted(error) : KVFOLD_OK;
}

/// Moves slices of rows `from <= row < to` between memory and an image.
void transfer(const Fold &fold, const Tensor &tensor, std::vector<uint8_t> *bytes, bool to_memory, size_t from,
              size_t to) {
  for (size_t row = from; row < to; row++) {
    for (size_t head = 0; head < tensor.heads; head++) {
      uint8_t *slice = bytes->data() + row * tensor.row_bytes + head * tensor.slice_bytes;
      if (to_memory) store_slice(tensor, fold.destinations[row], head, slice);
      else load_slice(tensor, fold.destinations[row], head, slice);
    }
  }
}

kvfold_status commit_tensor(const Fold &fold, const Tensor &tensor, Image *image, const kvfold_options *options,
                            kvfold_error *error) {
  const size_t rows = image->fresh.empty() ? 0 : fold.destinations.size(), middle = rows / 2;
  if (fault_here(options)) return fail_fault(options, error, "before the old rows were saved");
  transfer(fold, tensor, &image->saved, false, 0, middle);
  if (fault_here(options)) return fail_fault(options, error, "while the old rows were saved");
  transfer(fold, tensor, &image->saved, false, middle, rows);
  image->is_saved = true;
  if (fault_here(options)) return fail_fault(options, error, "after the old rows were saved");
  transfer(fold, tensor, &image->fresh, true, 0, middle);
  if (fault_here(options)) return fail_fault(options, error, "while the new rows were written");
  transfer(fold, tensor, &image->fresh, true, middle, rows);
  if (fault_here(options)) return fail_fault(options, error, "after the new rows were written");
  return KVFOLD_OK;
}

Fold *inner(kvfold_fold *fold) { return reinterpret_cast<Fold *>(fold); }

}  // namespace

kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error) {
  return kvfold_check_layer(layer, 0, error) == KVFOLD_OK ? KVFOLD_OK : KVFOLD_STATUS_UNSUPPORTED;
}

kvfold_status fold_prepare(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                           kvfold_fold **out, kvfold_error *error) {
  *out = nullptr;
  Fold *fold = nullptr;
  kvfold_status status = KVFOLD_OK;
  try {
    fold = new Fold();
    status = prepare(*target, *plan, options, fold, error);
  } catch (...) {
    status = fail_memory(error, "the rows of the fold");
  }
  if (status == KVFOLD_OK) *out = reinterpret_cast<kvfold_fold *>(fold);
  else delete fold;
  return status;
}

kvfold_status fold_commit(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error) {
  Fold *self = inner(fold);
  for (uint32_t i = 0; i < self->images.size(); i++) {
    const Tensor tensor = tensor_of(*self->memory, i / 2, i % 2);
    if (kvfold_status status = commit_tensor(*self, tensor, &self->images[i], options, error)) return status;
  }
  return KVFOLD_OK;
}

kvfold_status fold_rollback(kvfold_fold *fold, const kvfold_options *, kvfold_error *) {
  Fold *self = inner(fold);
  for (uint32_t i = 0; i < self->images.size(); i++) {
    Image &image = self->images[i];
    if (!image.is_saved || image.fresh.empty()) continue;
    const Tensor tensor = tensor_of(*self->memory, i / 2, i % 2);
    transfer(*self, tensor, &image.saved, true, 0, self->destinations.size());
  }
  return KVFOLD_OK;
}

void fold_free(kvfold_fold *fold) { delete inner(fold); }

/// Working memory is not counted here.
kvfold_fold_report fold_report(const kvfold_fold *fold) {
  const Fold &self = *reinterpret_cast<const Fold *>(fold);
  uint64_t held = 0;
  for (const Image &image : self.images) held += image.fresh.size() + image.saved.size();
  return {self.fits.empty() ? nullptr : self.fits.data(), self.fits.size(), held, 0};
}

const kvfold_backend kBackend = {
    KVFOLD_BACKEND_ABI, sizeof(kvfold_backend), "reference", supports, fold_prepare, fold_commit, fold_rollback,
    fold_free,          read_rows,              key_stats,         turn_queries, attend,      fold_report,
    rope_prepare,       nullptr,                nullptr,
};

}  // namespace reference
}  // namespace kvfold

// A plan and a target, copied out of JavaScript.
#include "addon/plan.h"

#include "addon/arguments.h"
#include "addon/errors.h"

namespace kvfold {
namespace addon {
namespace {

constexpr uint64_t kSafeInteger = (uint64_t{1} << 53) - 1;

uint32_t scope_of(const Napi::Value &value) {
  const std::string scope = string_argument(value, "scope");
  if (scope == "all") return KVFOLD_SCOPE_ALL;
  if (scope == "layer") return KVFOLD_SCOPE_LAYER;
  if (scope == "head") return KVFOLD_SCOPE_HEAD;
  throw_error(value.Env(), KVFOLD_STATUS_PLAN_SHAPE, "weights have the unknown scope \"" + scope + "\"");
}

kvfold_weights read_weights(const Napi::Value &value, const char *name, std::vector<float> *storage) {
  const Napi::Object object = object_argument(value, name);
  *storage = copy_array<float>(object.Get("data"), name);
  return {scope_of(object.Get("scope")), {storage->data(), storage->size()}};
}

uint32_t frame_of(const Napi::Value &value) {
  const std::string frame = string_argument(value, "keyFrame");
  if (frame == "stored") return KVFOLD_FRAME_STORED;
  if (frame == "target") return KVFOLD_FRAME_TARGET;
  throw_error(value.Env(), KVFOLD_STATUS_PLAN_SHAPE, "keyFrame \"" + frame + "\" is neither stored nor target");
}

bool is_nothing(const Napi::Value &value) { return value.IsNull() || value.IsUndefined(); }

uint32_t u32(const Napi::Object &object, const char *name) {
  return static_cast<uint32_t>(integer_argument(object.Get(name), name, UINT32_MAX));
}

}  // namespace

void PlanStorage::read(const Napi::Object &object) {
  positions = copy_array<int32_t>(object.Get("positions"), "positions");
  counts = copy_array<uint32_t>(object.Get("counts"), "counts");
  members = copy_array<uint32_t>(object.Get("members"), "members");
  bias = copy_array<float>(object.Get("bias"), "bias", true);
  pins = copy_array<uint8_t>(object.Get("pins"), "pins", true);
  plan.cells = u32(object, "cells");
  plan.rows = u32(object, "rows");
  plan.dropped = integer_argument(object.Get("dropped"), "dropped", kSafeInteger);
  plan.positions = {positions.data(), positions.size()};
  plan.counts = {counts.data(), counts.size()};
  plan.members = {members.data(), members.size()};
  plan.bias = {bias.data(), bias.size()};
  plan.pins = {pins.data(), pins.size()};
  if (!is_nothing(object.Get("fit"))) read_fit(object.Get("fit"));
  if (!is_nothing(object.Get("values"))) read_values(object.Get("values"));
  const std::string layout = string_argument(object.Get("layout"), "layout");
  if (layout == "composite") {
    plan.layout = KVFOLD_COMPOSITE;
    plan.layers = u32(object, "layers");
    plan.kv_heads = u32(object, "kvHeads");
    return;
  }
  if (layout != "shared")
    throw_error(object.Env(), KVFOLD_STATUS_PLAN_SHAPE, "layout \"" + layout + "\" is neither shared nor composite");
  plan.layout = KVFOLD_SHARED;
  plan.key_frame = frame_of(object.Get("keyFrame"));
  offsets = copy_array<uint32_t>(object.Get("offsets"), "offsets");
  plan.offsets = {offsets.data(), offsets.size()};
  plan.key_weights = read_weights(object.Get("keyWeights"), "keyWeights", &key_weights);
  plan.value_weights = read_weights(object.Get("valueWeights"), "valueWeights", &value_weights);
}

void PlanStorage::read_fit(const Napi::Value &value) {
  const Napi::Object object = object_argument(value, "fit");
  changed = copy_array<uint8_t>(object.Get("free"), "free");
  fit.free = {changed.data(), changed.size()};
  fit.lambda = number_argument(object.Get("lambda"), "lambda");
  fit.horizon = u32(object, "horizon");
  fit.max_rows = u32(object, "maxRows");
  fit.holdout = u32(object, "holdout");
  plan.fit = &fit;
}

void PlanStorage::read_values(const Napi::Value &value) {
  if (plan.fit != nullptr)
    throw_error(value.Env(), KVFOLD_STATUS_PLAN_FIT, "the plan both solves for values and gives values");
  const Napi::Object object = object_argument(value, "values");
  changed = copy_array<uint8_t>(object.Get("given"), "given");
  given_values = copy_array<float>(object.Get("data"), "data");
  values.given = {changed.data(), changed.size()};
  values.data = {given_values.data(), given_values.size()};
  plan.values = &values;
}

kvfold_query_layer query_layer_argument(const Napi::Value &value, std::vector<uint16_t> *storage) {
  if (is_nothing(value)) return {};
  const Napi::Object object = object_argument(value, "query layer");
  *storage = copy_array<uint16_t>(object.Get("rows"), "rows");
  return {u32(object, "heads"), number_argument(object.Get("scale"), "scale"), {storage->data(), storage->size()}};
}

void SampleStorage::read(const Napi::Object &object, uint32_t layer_count) {
  positions = copy_array<int32_t>(object.Get("positions"), "positions");
  const Napi::Array array = array_argument(object.Get("layers"), "layers");
  if (array.Length() != layer_count)
    throw_error(object.Env(), KVFOLD_STATUS_ARGUMENT, "the query sample needs one entry a layer");
  rows.resize(layer_count);
  for (uint32_t l = 0; l < layer_count; l++) layers.push_back(query_layer_argument(array.Get(l), &rows[l]));
  sample = {{positions.data(), positions.size()}, layers.data(), layer_count};
}

void TargetStorage::read_fit(const Napi::Object &object) {
  const uint32_t layer_count = target.memory->layer_count;
  bias = copy_array<float>(object.Get("bias"), "bias", true);
  target.bias = {bias.data(), bias.size()};
  if (!is_nothing(object.Get("queries"))) {
    queries.read(object_argument(object.Get("queries"), "queries"), layer_count);
    target.queries = &queries.sample;
  }
  if (is_nothing(object.Get("outputs"))) return;
  const Napi::Array array = array_argument(object.Get("outputs"), "outputs");
  if (array.Length() != layer_count)
    throw_error(object.Env(), KVFOLD_STATUS_ARGUMENT, "outputs needs one entry a layer");
  outputs.resize(layer_count);
  for (uint32_t l = 0; l < layer_count; l++) {
    outputs[l] = copy_array<float>(array.Get(l), "outputs", true);
    output_spans.push_back({outputs[l].data(), outputs[l].size()});
  }
  target.outputs = output_spans.data();
}

void TargetStorage::read(const Napi::Object &object, const kvfold_memory *memory, bool with_sources) {
  slots = copy_array<uint32_t>(object.Get("slots"), "slots");
  positions = copy_array<int32_t>(object.Get("positions"), "positions");
  destinations = copy_array<uint32_t>(object.Get("destinations"), "destinations");
  target.memory = memory;
  target.cells = slots.size() > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(slots.size());
  target.slots = {slots.data(), slots.size()};
  target.positions = {positions.data(), positions.size()};
  target.destinations = {destinations.data(), destinations.size()};
  const Napi::Array maps = array_argument(object.Get("sources"), "sources");
  if (maps.Length() != memory->layer_count)
    throw_error(object.Env(), KVFOLD_STATUS_ARGUMENT, "sources needs one entry a layer");
  if (!with_sources) return;
  sources.resize(memory->layer_count);
  source_spans.resize(memory->layer_count);
  for (uint32_t l = 0; l < memory->layer_count; l++) {
    sources[l] = copy_array<int32_t>(maps.Get(l), "sources", true);
    source_spans[l] = {sources[l].data(), sources[l].size()};
  }
  target.sources = source_spans.data();
}

void ShiftStorage::read(const Napi::Object &object, const kvfold_memory *memory) {
  slots = copy_array<uint32_t>(object.Get("slots"), "slots");
  deltas = copy_array<int32_t>(object.Get("deltas"), "deltas");
  const Napi::Array layers = array_argument(object.Get("layerDeltas"), "layerDeltas");
  if (layers.Length() != memory->layer_count)
    throw_error(object.Env(), KVFOLD_STATUS_ARGUMENT, "layerDeltas needs one entry a layer");
  own.resize(memory->layer_count);
  for (uint32_t l = 0; l < memory->layer_count; l++) {
    own[l] = copy_array<int32_t>(layers.Get(l), "layerDeltas", true);
    spans.push_back({own[l].data(), own[l].size()});
  }
  rope = {memory, {slots.data(), slots.size()}, {deltas.data(), deltas.size()}, spans.data()};
}

}  // namespace addon
}  // namespace kvfold

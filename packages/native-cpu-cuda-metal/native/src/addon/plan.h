// A plan and a target, copied out of JavaScript; the spans of fold.h point into this storage.
#ifndef KVFOLD_ADDON_PLAN_H
#define KVFOLD_ADDON_PLAN_H

#include <napi.h>

#include <vector>

#include "kvfold/fold.h"

namespace kvfold {
namespace addon {

/// Not movable once filled: spans point into it.
struct PlanStorage {
  PlanStorage() = default;
  PlanStorage(const PlanStorage &) = delete;
  PlanStorage &operator=(const PlanStorage &) = delete;

  kvfold_plan plan{};
  std::vector<int32_t> positions;
  std::vector<uint32_t> counts, members, offsets;
  std::vector<float> bias, key_weights, value_weights;
  std::vector<uint8_t> pins;
  kvfold_fit_request fit{};
  kvfold_dense_values values{};
  std::vector<uint8_t> changed;  // `free` of a fit, or `given` of values
  std::vector<float> given_values;

  /// Throws on values of the wrong type; the rules of a plan are checked later, off the event loop.
  void read(const Napi::Object &object);

 private:
  void read_fit(const Napi::Value &value);
  void read_values(const Napi::Value &value);
};

/// Sampled queries. Not movable once filled.
struct SampleStorage {
  SampleStorage() = default;
  SampleStorage(const SampleStorage &) = delete;
  SampleStorage &operator=(const SampleStorage &) = delete;

  kvfold_query_sample sample{};
  std::vector<int32_t> positions;
  std::vector<kvfold_query_layer> layers;
  std::vector<std::vector<uint16_t>> rows;

  void read(const Napi::Object &object, uint32_t layer_count);
};

/// { heads, scale, rows } as a layer whose rows lie in `storage`; null gives a layer without queries.
kvfold_query_layer query_layer_argument(const Napi::Value &value, std::vector<uint16_t> *storage);

struct TargetStorage {
  TargetStorage() = default;
  TargetStorage(const TargetStorage &) = delete;
  TargetStorage &operator=(const TargetStorage &) = delete;

  kvfold_target target{};
  std::vector<uint32_t> slots, destinations;
  std::vector<int32_t> positions;
  std::vector<std::vector<int32_t>> sources;
  std::vector<kvfold_i32_span> source_spans;
  std::vector<float> bias;
  SampleStorage queries;
  std::vector<std::vector<float>> outputs;
  std::vector<kvfold_f32_span> output_spans;

  /// `with_sources`: whether the plan turns keys; nothing else looks at the source map.
  void read(const Napi::Object &object, const kvfold_memory *memory, bool with_sources);
  /// What a fit is made on: bias, queries, outputs.
  void read_fit(const Napi::Object &object);
};

/// A rope shift. Not movable once filled.
struct ShiftStorage {
  ShiftStorage() = default;
  ShiftStorage(const ShiftStorage &) = delete;
  ShiftStorage &operator=(const ShiftStorage &) = delete;

  kvfold_rope rope{};
  std::vector<uint32_t> slots;
  std::vector<int32_t> deltas;
  std::vector<std::vector<int32_t>> own;
  std::vector<kvfold_i32_span> spans;

  void read(const Napi::Object &object, const kvfold_memory *memory);
};

}  // namespace addon
}  // namespace kvfold

#endif

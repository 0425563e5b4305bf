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

  /// Throws on values of the wrong type; the rules of a plan are checked later, off the event loop.
  void read(const Napi::Object &object);
};

struct TargetStorage {
  TargetStorage() = default;
  TargetStorage(const TargetStorage &) = delete;
  TargetStorage &operator=(const TargetStorage &) = delete;

  kvfold_target target{};
  std::vector<uint32_t> slots, destinations;
  std::vector<int32_t> positions;
  std::vector<std::vector<int32_t>> sources;
  std::vector<kvfold_i32_span> source_spans;

  /// `with_sources`: whether the plan turns keys; nothing else looks at the source map.
  void read(const Napi::Object &object, const kvfold_memory *memory, bool with_sources);
};

}  // namespace addon
}  // namespace kvfold

#endif

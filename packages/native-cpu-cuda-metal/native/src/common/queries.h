// The query sample of a fit: which rows it asks for, and which rows of a plan it frees.
#ifndef KVFOLD_COMMON_QUERIES_H
#define KVFOLD_COMMON_QUERIES_H

#include <vector>

#include "common/tensor.h"
#include "kvfold/fold.h"

namespace kvfold {

/// A prime larger than any horizon in use; the same as in @kvfold/core.
constexpr uint64_t kQuerySpread = 7919;

/// By how many positions sample `index` of a checked request is turned.
inline int64_t turn_delta(const kvfold_turn &turn, uint64_t index) {
  const uint64_t ahead = index * kQuerySpread % turn.horizon;
  return int64_t{turn.last} + 1 + static_cast<int64_t>(ahead) - turn.positions.data[index];
}

/// The queries of a fit. `last` is the last position of the cells for their outputs, and that of the rows for the fit.
inline kvfold_turn turn_of(const kvfold_target &target, const kvfold_fit_request &fit, uint32_t layer, int32_t last) {
  return {&target.memory->layers[layer], target.queries->layers[layer], target.queries->positions, last, fit.horizon,
          fit.max_rows};
}

inline bool is_marked(const kvfold_u8_span &mask, const kvfold_plan &plan, size_t max_heads, size_t layer, size_t head,
                      size_t row) {
  return mask.data[(layer * max_heads + head) * plan.rows + row] != 0;
}

inline uint32_t marked_rows(const kvfold_u8_span &mask, const kvfold_target &target, const kvfold_plan &plan,
                            size_t layer, size_t head) {
  const size_t max_heads = most_heads(*target.memory);
  uint32_t count = 0;
  for (uint32_t row = 0; row < plan.rows; row++) count += is_marked(mask, plan, max_heads, layer, head, row) ? 1 : 0;
  return count;
}

/// The rows of a head that a fit frees, ascending, and how many times the ridge holds each of them.
struct FreeRows {
  std::vector<uint32_t> rows;
  std::vector<uint8_t> factors;

  void find(const kvfold_target &target, const kvfold_plan &plan, size_t layer, size_t head) {
    const uint8_t *of_head = plan.fit->free.data + (layer * most_heads(*target.memory) + head) * plan.rows;
    rows.clear();
    factors.clear();
    for (uint32_t row = 0; row < plan.rows; row++) {
      if (of_head[row] == 0) continue;
      rows.push_back(row);
      factors.push_back(of_head[row]);
    }
  }
  /// None where all are 1, so that a fit may take its smaller form.
  kvfold_u8_span told_factors() const {
    for (uint8_t factor : factors) {
      if (factor > 1) return {factors.data(), factors.size()};
    }
    return {nullptr, 0};
  }
};

/// The rows whose values are not the sum of their members: solved for, or given. NULL: none.
inline const kvfold_u8_span *changed_values(const kvfold_plan &plan) {
  if (plan.fit != nullptr) return &plan.fit->free;
  return plan.values != nullptr ? &plan.values->given : nullptr;
}

}  // namespace kvfold

#endif

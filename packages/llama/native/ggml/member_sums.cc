// See member_sums.h.
#include "member_sums.h"

#include <algorithm>
#include <numeric>

namespace kvfold {

SumBlock::SumBlock(const SumList &list, size_t first, size_t last, const SliceMatrix &matrix, const TurnSpec &turn)
    : turn_(turn), turned_(!list.turns.empty()) {
  const auto members = [&](size_t i) { return list.offsets[i + 1] - list.offsets[i]; };
  std::vector<size_t> order(last - first);
  std::iota(order.begin(), order.end(), first);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return members(a) > members(b); });
  for (const size_t i : order) to_.push_back(matrix.row_of(list.to[i]));
  for (uint32_t rank = 0; !order.empty() && rank < members(order.front()); rank++) {
    std::vector<int32_t> from, turns;
    std::vector<float> weights;
    for (const size_t i : order) {
      if (members(i) <= rank) break;
      const size_t member = list.offsets[i] + rank;
      from.push_back(matrix.row_of(list.from[member]));
      weights.push_back(list.weights[member]);
      if (turned_) turns.push_back(list.turns[member]);
    }
    ranks_.push_back({std::move(from), std::move(weights), Angles(turn, turns)});
  }
}

size_t SumBlock::tensors() const {
  return ranks_.size() * (8 + (turned_ ? turn_tensors(turn_) : 0)) + turn_tensors(turn_) + 8;
}

void SumBlock::build(Graph &graph, const SliceMatrix &matrix) {
  ggml_context *context = graph.context();
  ggml_tensor *cells = matrix.typed(graph);
  for (const Rank &rank : ranks_) {
    const auto count = static_cast<int64_t>(rank.from.size());
    ggml_tensor *from = graph.input(GGML_TYPE_I32, count, 1, rank.from.data());
    ggml_tensor *weights = graph.input(GGML_TYPE_F32, 1, count, rank.weights.data());
    ggml_tensor *members = ggml_get_rows(context, cells, from);
    if (turned_) members = turned(graph, turn_, hadamard(graph, members, turn_.hadamard), rank.angles);
    ggml_tensor *weighted = ggml_mul(context, members, weights);
    if (sums_ == nullptr) {
      sums_ = graph.keep(weighted);
      continue;
    }
    ggml_tensor *those = ggml_view_2d(context, sums_, sums_->ne[0], count, sums_->nb[1], 0);
    graph.add(ggml_add_inplace(context, those, weighted));
  }
  // Turned members were added outside of the Hadamard basis.
  if (!turned_ || turn_.hadamard < 2) return;
  ggml_tensor *all = ggml_view_2d(context, sums_, sums_->ne[0], sums_->ne[1], sums_->nb[1], 0);
  sums_ = graph.keep(hadamard(graph, all, turn_.hadamard));
}

void SumBlock::store(Graph &graph, const SliceMatrix &matrix) const {
  ggml_context *context = graph.context();
  const auto count = static_cast<int64_t>(to_.size());
  ggml_tensor *sums = made_before(context, sums_, GGML_TYPE_F32, sums_->ne[0], count);
  ggml_tensor *to = graph.input(GGML_TYPE_I64, count, 1, to_.data());
  graph.add(ggml_set_rows(context, matrix.typed_again(graph), sums, to));
}

}  // namespace kvfold

// See query_tap.h.
#include "query_tap.h"

#include <cstring>
#include <set>

#include "failure.h"
#include "ggml-backend.h"
#include "ggml.h"

namespace kvfold {

namespace {

size_t width_of(const QuerySource &source) { return static_cast<size_t>(source.heads) * source.head_dim; }

[[noreturn]] void fail(const QuerySource &source, const std::string &what) {
  throw Failure("KVFOLD_NATIVE", "queries of layer " + std::to_string(source.layer) + ": " + what,
                "read the prompt without the signal queries");
}

// Doubles its room, but never beyond a full sample.
void grow(std::vector<uint16_t> &rows, size_t slots, size_t width, uint32_t most) {
  if (rows.size() >= slots * width) return;
  if (rows.capacity() < slots * width)
    rows.reserve(std::max(slots, std::min<size_t>(2 * slots, most)) * width);
  rows.resize(slots * width);
}

}  // namespace

int QueryTap::find(const ggml_tensor *node) const {
  for (size_t i = 0; i < sources_.size(); i++)
    if (static_cast<int>(node->op) == sources_[i].op && sources_[i].node == node->name) return static_cast<int>(i);
  return -1;
}

// Of several columns that took one slot, one after another, the last stays.
void QueryTap::drop_overwritten(std::vector<Pick> *picks) {
  std::set<uint32_t> taken;
  std::vector<Pick> last;
  for (auto pick = picks->rbegin(); pick != picks->rend(); ++pick)
    if (taken.insert(pick->slot).second) last.push_back(*pick);
  picks->assign(last.rbegin(), last.rend());
}

bool QueryTap::begin(int32_t first_position, uint32_t tokens) {
  Pending next(reservoir_);
  next.first_position = first_position;
  next.tokens = tokens;
  for (uint32_t column = 0; column < tokens; column++) {
    const uint32_t slot = next.reservoir.offer(first_position + static_cast<int32_t>(column));
    if (slot != QueryReservoir::kSkip) next.picks.push_back({column, slot});
  }
  drop_overwritten(&next.picks);
  next.seen.assign(sources_.size(), 0);
  next.rows.resize(sources_.size());
  pending_.emplace(std::move(next));
  return !pending_->picks.empty();
}

// Columns must be the tokens that were announced, in their order; a rotated node says at which positions they stand.
void QueryTap::check_form(const ggml_tensor *node, const QuerySource &source, uint32_t seen) const {
  const size_t width = width_of(source);
  const auto elements = static_cast<size_t>(ggml_nelements(node));
  if (node->type != GGML_TYPE_F32 || !ggml_is_contiguous(node) || elements % width != 0)
    fail(source, "the node is not whole rows of contiguous f32");
  const size_t tokens = elements / width;
  if (tokens > pending_->tokens - seen) fail(source, "more columns than tokens");
  const ggml_tensor *where = node->src[1];
  if (node->op != GGML_OP_ROPE || where == nullptr || where->type != GGML_TYPE_I32) return;
  std::vector<int32_t> positions(static_cast<size_t>(ggml_nelements(where)));
  ggml_backend_tensor_get(where, positions.data(), 0, positions.size() * sizeof(int32_t));
  const int32_t first = pending_->first_position + static_cast<int32_t>(seen);
  for (size_t i = 0; i < tokens; i++)
    if (positions.size() != tokens || positions[i] != first + static_cast<int32_t>(i))
      fail(source, "columns stand at other positions than the tokens");
}

void QueryTap::take(const ggml_tensor *node) {
  const int index = find(node);
  if (index < 0 || !pending_) return;
  const QuerySource &source = sources_[static_cast<size_t>(index)];
  const size_t width = width_of(source);
  uint32_t &seen = pending_->seen[static_cast<size_t>(index)];
  check_form(node, source, seen);
  const auto columns = static_cast<uint32_t>(static_cast<size_t>(ggml_nelements(node)) / width);
  auto &rows = pending_->rows[static_cast<size_t>(index)];
  rows.resize(pending_->picks.size() * width);
  std::vector<float> row(width);
  for (size_t pick = 0; pick < pending_->picks.size(); pick++) {
    const uint32_t column = pending_->picks[pick].column;
    if (column < seen || column >= seen + columns) continue;
    ggml_backend_tensor_get(node, row.data(), (column - seen) * width * sizeof(float), width * sizeof(float));
    ggml_fp32_to_fp16_row(row.data(), reinterpret_cast<ggml_fp16_t *>(&rows[pick * width]),
                          static_cast<int64_t>(width));
  }
  seen += columns;
}

void QueryTap::commit() {
  if (!pending_) return;
  const bool picked = !pending_->picks.empty();
  for (size_t i = 0; i < sources_.size() && picked; i++)
    if (pending_->seen[i] != pending_->tokens) fail(sources_[i], "the evaluation did not show all of them");
  const size_t slots = pending_->reservoir.entries().size();
  for (size_t i = 0; i < sources_.size() && picked; i++)
    grow(rows_[i], slots, width_of(sources_[i]), reservoir_.capacity());
  for (size_t i = 0; i < sources_.size() && picked; i++) {
    const size_t width = width_of(sources_[i]);
    for (size_t pick = 0; pick < pending_->picks.size(); pick++)
      std::memcpy(&rows_[i][pending_->picks[pick].slot * width], &pending_->rows[i][pick * width], width * 2);
  }
  reservoir_ = std::move(pending_->reservoir);
  pending_.reset();
}

void QueryTap::take_back(uint64_t tokens) {
  pending_.reset();
  const std::vector<uint32_t> kept = reservoir_.take_back(tokens);
  for (size_t i = 0; i < sources_.size(); i++) {
    const size_t width = width_of(sources_[i]);
    for (size_t slot = 0; slot < kept.size(); slot++)
      if (kept[slot] != slot) std::memcpy(&rows_[i][slot * width], &rows_[i][kept[slot] * width], width * 2);
    rows_[i].resize(kept.size() * width);
  }
}

uint64_t QueryTap::bytes_needed(const std::vector<QuerySource> &sources, uint64_t max_positions) {
  // the sizes of heads come from tensors that exist, so their product fits; positions come from the caller
  uint64_t width = 0;
  for (const QuerySource &source : sources) width += width_of(source) * sizeof(uint16_t);
  if (width != 0 && max_positions > UINT64_MAX / width) return UINT64_MAX;
  return width * max_positions;
}

}  // namespace kvfold

// New rows of one tensor: raw copies, sums in registers, and the long way round for keys that turn.
#include "cpu/row_maker.h"

#include <algorithm>
#include <cstring>

#include "common/prefetch.h"
#include "cpu/quant.h"

namespace kvfold {
namespace cpu {

RowMaker::RowMaker(const Fold &fold, uint32_t index, From from)
    : fold_(fold), recipe_(fold.recipe(index)), tensor_(fold.tensor(index)),
      layer_(fold.target->memory->layers[index / 2]),
      place_(from == From::log ? fold.place.data() : fold.target->slots.data), log_(fold.tensors[index].undo) {
  const kvfold_plan &plan = *fold.plan;
  const kvfold_i32_span *sources = fold.target->sources;
  const kvfold_weights &weights = recipe_.kind == KVFOLD_KEYS ? plan.key_weights : plan.value_weights;
  turns_ = plan.layout == KVFOLD_SHARED && recipe_.kind == KVFOLD_KEYS && plan.key_frame == KVFOLD_FRAME_TARGET &&
           layer_.rope_pairing != KVFOLD_ROPE_NONE;
  const bool mapped = turns_ && sources != nullptr && sources[recipe_.layer].length != 0;
  uniform_ = plan.layout == KVFOLD_SHARED && weights.scope != KVFOLD_SCOPE_HEAD && !mapped;
  plain_ = uniform_ && from == From::log && !turns_ && fold.members.plain[recipe_.kind];
}

size_t RowMaker::composite_cell(size_t row, size_t head) const {
  const kvfold_plan &plan = *fold_.plan;
  return plan.members.data[(size_t{recipe_.layer} * plan.kv_heads + head) * plan.rows + row];
}

const uint8_t *RowMaker::slice(size_t cell, size_t head) const {
  return at(place_[cell]) + head * tensor_.slice_bytes;
}

bool RowMaker::keeps(size_t row) const {
  if (!uniform_) return false;
  const kvfold_plan &plan = *fold_.plan;
  const uint32_t m = plan.offsets.data[row];
  if (plan.offsets.data[row + 1] != m + 1 || recipe_.weight(0, m) != 1.0f) return false;
  const uint32_t cell = plan.members.data[m];
  return fold_.target->slots.data[cell] == fold_.destination(row) && recipe_.turn(row, 0, cell) == 0;
}

size_t RowMaker::source_bytes() const {
  const kvfold_plan &plan = *fold_.plan;
  if (plan.layout == KVFOLD_COMPOSITE) return tensor_.heads * (tensor_.slice_bytes / 64 + 1) * 64;  // whole lines
  return static_cast<size_t>(plan.members.length) * tensor_.row_bytes / plan.rows;
}

bool RowMaker::turned(size_t row, size_t head) const {
  if (!turns_) return false;
  const kvfold_plan &plan = *fold_.plan;
  const float *weights = recipe_.weights(head);
  for (size_t m = plan.offsets.data[row], end = plan.offsets.data[row + 1]; m < end; m++) {
    if (weights[m] != 0.0f && recipe_.turn(row, head, plan.members.data[m]) != 0) return true;
  }
  return false;
}

bool RowMaker::turned_anywhere(size_t row, size_t heads) const {
  for (size_t head = 0; turns_ && head < heads; head++) {
    if (turned(row, head)) return true;
  }
  return false;
}

void RowMaker::gather(size_t from, size_t to, RowBatch *batch) const {
  batch->clear(from);
  batch->piece_bytes = uniform_ ? tensor_.row_bytes : tensor_.slice_bytes;
  if (fold_.plan->layout == KVFOLD_COMPOSITE) gather_composite(to, batch);
  else if (plain_) gather_plain(to, batch);
  else gather_sums(to, batch);
}

void RowMaker::gather_composite(size_t to, RowBatch *into) const {
  const size_t rows = fold_.plan->rows, heads = tensor_.heads, from = into->end;
  const size_t end = std::min(to, from + RowBatch::kTerms / heads);
  const uint32_t *cells = fold_.plan->members.data + size_t{recipe_.layer} * fold_.plan->kv_heads * rows;
  const uint8_t **slice = into->from;
  for (size_t row = from; row < end; row++) {
    for (size_t head = 0; head < heads; head++)
      *slice++ = at(place_[cells[head * rows + row]]) + head * tensor_.slice_bytes;
  }
  into->copies = true;
  into->end = end;
  into->terms = (end - from) * heads;
}

/// Rows from `from` on for gather_plain().
size_t RowMaker::plain_end(size_t from, size_t to) const {
  const uint32_t *offsets = fold_.plan->offsets.data;
  const size_t last = std::min(to, from + RowBatch::kPieces), most = offsets[from] + RowBatch::kTerms;
  if (fold_.members.sums && offsets[last] <= most) return last;
  size_t row = from;
  for (; row < last && offsets[row + 1] <= most; row++) {
    const size_t members = offsets[row + 1] - offsets[row];
    if (members > kMostTerms || (members == 1 && keeps(row))) break;
  }
  return row;
}

/// With weights and ends of the plan itself: only where the members lie is new with every tensor.
void RowMaker::gather_plain(size_t to, RowBatch *into) const {
  const kvfold_plan &plan = *fold_.plan;
  const size_t from = into->end, end = plain_end(from, to);
  const size_t first = plan.offsets.data[from], terms = plan.offsets.data[end] - first, bytes = tensor_.row_bytes;
  const uint32_t *place = fold_.members.place.data() + first, *run = fold_.members.run.data() + first;
  into->copies = fold_.members.copies[recipe_.kind];
  size_t runs = 0;
  for (size_t i = 0; i < terms && into->copies; i++) into->from[i] = at(place[i]);
  for (size_t i = 0; i < terms && !into->copies; runs++) {
    const uint8_t *row = at(place[i]);
    const size_t after = std::min<size_t>(terms, i + run[i]);
    into->run_begins[runs] = row;
    for (; i < after; i++, row += bytes) into->from[i] = row;
    into->run_ends[runs] = row;
  }
  into->plan_weights = recipe_.weights(0) + first;
  into->plan_ends = plan.offsets.data + from + 1;
  into->plan_first = static_cast<uint32_t>(first);
  into->plan_sums = fold_.members.sums;
  into->end = end;
  into->pieces = end - from;
  into->terms = terms;
  into->runs = runs;
}

void RowMaker::gather_sums(size_t to, RowBatch *into) const {
  BatchWriter batch(into);
  const kvfold_plan &plan = *fold_.plan;
  const size_t pieces = uniform_ ? 1 : tensor_.heads;
  for (; batch.row() < to; batch.end_row()) {
    const size_t row = batch.row(), first = plan.offsets.data[row], members = plan.offsets.data[row + 1] - first;
    if (members > kMostTerms || !batch.has_room(pieces, pieces * members)) break;
    if ((members == 1 && keeps(row)) || turned_anywhere(row, pieces)) break;
    const uint8_t *cell[kMostTerms];
    for (size_t i = 0; i < members; i++) {
      cell[i] = slice(plan.members.data[first + i], 0);
      batch.add_run(cell[i], tensor_.row_bytes);
    }
    for (size_t head = 0; head < pieces; head++) {
      const float *weights = recipe_.weights(head) + first;
      for (size_t i = 0; i < members; i++) {
        if (weights[i] != 0.0f) batch.add_term(cell[i] + head * tensor_.slice_bytes, weights[i]);
      }
      batch.end_piece();
    }
  }
}

void RowMaker::prefetch_row(size_t row) const {
  const kvfold_plan &plan = *fold_.plan;
  if (plan.layout == KVFOLD_COMPOSITE) return;
  for (size_t m = plan.offsets.data[row], end = plan.offsets.data[row + 1]; m < end; m++) {
    const uint8_t *cell = slice(plan.members.data[m], 0);
    for (size_t at = 0; at < tensor_.row_bytes; at += 64) prefetch(cell + at);
  }
}

void RowMaker::make_row(size_t row, FoldSpace *space, uint8_t *out) const {
  if (uniform_) return make(row, 0, tensor_.heads, space, out);
  for (size_t head = 0; head < tensor_.heads; head++) make(row, head, 1, space, out + head * tensor_.slice_bytes);
}

void RowMaker::make(size_t row, size_t head, size_t heads, FoldSpace *space, uint8_t *out) const {
  if (fold_.plan->layout == KVFOLD_COMPOSITE) {
    std::memcpy(out, slice(composite_cell(row, head), head), tensor_.slice_bytes);
    return;
  }
  const kvfold_plan &plan = *fold_.plan;
  const float *weights = recipe_.weights(head);
  const uint8_t *from[kMostTerms];
  float used[kMostTerms];
  uint32_t count = 0;
  for (size_t m = plan.offsets.data[row], end = plan.offsets.data[row + 1]; m < end; m++) {
    if (weights[m] == 0.0f) continue;
    if (count < kMostTerms) {
      from[count] = slice(plan.members.data[m], head);
      used[count] = weights[m];
    }
    count++;
  }
  const bool turns = turned(row, head);
  if (!turns && count <= kMostTerms) {
    const Runs nothing{nullptr, nullptr, 0, 0, 0};
    const Stream nowhere{nullptr, nullptr, 0};
    return kernels().make(tensor_.type, {from, used, &count, 1}, nothing, nowhere, heads * tensor_.dim, out);
  }
  for (size_t h = head; h < head + heads; h++, out += tensor_.slice_bytes) make_at_length(row, h, turns, space, out);
}

/// Turned members are summed outside of the Hadamard basis, which is entered again once.
void RowMaker::make_at_length(size_t row, size_t head, bool turned, FoldSpace *space, uint8_t *out) const {
  const kvfold_plan &plan = *fold_.plan;
  const float *weights = recipe_.weights(head);
  const size_t dim = tensor_.dim;
  std::fill(space->sum, space->sum + dim, 0.0f);
  for (size_t m = plan.offsets.data[row], end = plan.offsets.data[row + 1]; m < end; m++) {
    if (weights[m] == 0.0f) continue;
    const size_t cell = plan.members.data[m];
    decode(tensor_.type, slice(cell, head), space->member, dim);
    if (turned) {
      hadamard(tensor_.hadamard, space->member, dim);
      space->angles.set(layer_, recipe_.turn(row, head, cell));
      rotate(layer_, space->angles, space->member);
    }
    kernels().add_scaled(space->member, weights[m], space->sum, dim);
  }
  if (turned) hadamard(tensor_.hadamard, space->sum, dim);
  encode(tensor_.type, space->sum, out, dim);
}

}  // namespace cpu
}  // namespace kvfold

// See fold.h.
#include "fold.h"

#include <algorithm>

#include "failure.h"

namespace kvfold {

namespace {

class FaultPoints {
 public:
  explicit FaultPoints(int64_t fail_at) : fail_at_(fail_at) {}
  void here(const char *when) {
    if (passed_++ == fail_at_) throw Failure("KVFOLD_FAULT", std::string("fault injected ") + when);
  }
  int64_t passed() const { return passed_; }

 private:
  int64_t fail_at_, passed_ = 0;
};

std::vector<SumBlock> blocks_of(const SumList &list, const SliceMatrix &matrix, const TurnSpec &turn) {
  std::vector<SumBlock> blocks;
  for (size_t first = 0; first < list.to.size(); first += kSlicesOfBlock)
    blocks.emplace_back(list, first, std::min(list.to.size(), first + kSlicesOfBlock), matrix, turn);
  return blocks;
}

void check_units(const std::vector<int32_t> &units, int64_t of_cell, const SlicePlace &place) {
  for (const int32_t unit : units) {
    const int64_t cell = unit / of_cell, head = unit % of_cell;
    if (unit < 0 || cell >= place.cells) throw Failure("KVFOLD_ARGUMENT", "a slice lies outside of the cache");
    if (!place.whole_cells && (head < place.first_head || head >= place.first_head + place.heads))
      throw Failure("KVFOLD_ARGUMENT", "a slice is of another head than the chunk");
  }
}

void check_sums(const SumList &list, const TurnSpec &turn, int64_t of_cell, const SlicePlace &place) {
  check_units(list.to, of_cell, place);
  check_units(list.from, of_cell, place);
  const auto &offsets = list.offsets;
  const bool ends = offsets.size() == list.to.size() + 1 && offsets.front() == 0 && offsets.back() == list.from.size();
  if (!ends || list.weights.size() != list.from.size())
    throw Failure("KVFOLD_ARGUMENT", "the lists of a sum do not fit each other");
  for (size_t i = 1; i < offsets.size(); i++)
    if (offsets[i] <= offsets[i - 1]) throw Failure("KVFOLD_ARGUMENT", "a sum has no members");
  if (list.turns.empty()) return;
  if (list.turns.size() != list.from.size() || turn.frequencies.empty() || place.whole_cells)
    throw Failure("KVFOLD_ARGUMENT", "these slices cannot be turned");
}

std::vector<int32_t> all_written(const Chunk &chunk) {
  std::vector<int32_t> units = chunk.copied_to;
  for (const auto *more : {&chunk.given_to, &chunk.sums.to, &chunk.turned.to})
    units.insert(units.end(), more->begin(), more->end());
  return units;
}

// The nodes that read; their results stay in the allocator until the chunk is written.
struct Read {
  std::vector<int32_t> saved, from;
  ggml_tensor *copied = nullptr;
};

ggml_tensor *stored(Graph &graph, const SliceMatrix &matrix, ggml_tensor *words, const std::vector<int64_t> &to) {
  ggml_tensor *where = graph.input(GGML_TYPE_I64, static_cast<int64_t>(to.size()), 1, to.data());
  return ggml_set_rows(graph.context(), matrix.raw_again(graph), words, where);
}

std::vector<int64_t> wide(const std::vector<int32_t> &rows) { return {rows.begin(), rows.end()}; }

}  // namespace

DeviceFold::DeviceFold(std::shared_ptr<Tensors> tensors, uint32_t rows, bool undo_on_host)
    : tensors_(std::move(tensors)), devices_(tensors_->threads()) {
  for (const TensorLayer &layer : tensors_->layers())
    for (const CacheTensor *tensor : {&layer.keys, &layer.values})
      undo_.emplace_back(devices_.of(tensor->root), *tensor, rows, undo_on_host);
}

size_t DeviceFold::held_bytes() const {
  size_t bytes = 0;
  for (const UndoLog &log : undo_) bytes += log.bytes();
  return bytes;
}

void DeviceFold::check(const Chunk &chunk, const CacheTensor &tensor) const {
  const int64_t of_cell = chunk.place.whole_cells ? 1 : tensor.heads;
  const TurnSpec &turn = tensors_->layers()[chunk.layer].turn;
  for (const auto *units : {&chunk.copied_from, &chunk.copied_to, &chunk.given_to})
    check_units(*units, of_cell, chunk.place);
  check_sums(chunk.sums, turn, of_cell, chunk.place);
  check_sums(chunk.turned, turn, of_cell, chunk.place);
  if (!chunk.turned.to.empty() && chunk.turned.turns.empty())
    throw Failure("KVFOLD_ARGUMENT", "turned slices need positions to turn by");
  const size_t slice = chunk.place.whole_cells ? tensor.row_bytes() : tensor.slice_bytes();
  if (chunk.copied_from.size() != chunk.copied_to.size() || chunk.given.size() != chunk.given_to.size() * slice)
    throw Failure("KVFOLD_ARGUMENT", "the lists of a chunk do not fit each other");
}

int64_t DeviceFold::write(const Chunk &chunk, int64_t fail_at) {
  const CacheTensor &tensor = tensors_->tensor(chunk.layer, chunk.kind);
  check(chunk, tensor);
  const std::vector<int32_t> units = all_written(chunk);
  if (units.empty()) return 0;
  FaultPoints faults(fail_at);
  Device &device = devices_.of(tensor.root);
  const TurnSpec &turn = tensors_->layers()[chunk.layer].turn;
  UndoLog &undo = undo_[2 * chunk.layer + chunk.kind];
  faults.here("before the old rows were saved");

  // blocks are built before the graph, whose room they tell; a matrix needs a graph only for a transposed copy
  Graph rows_only(device, 16);
  const SliceMatrix numbers(rows_only, tensor, chunk.place);
  std::vector<SumBlock> blocks = blocks_of(chunk.sums, numbers, turn);
  for (SumBlock &block : blocks_of(chunk.turned, numbers, turn)) blocks.push_back(std::move(block));
  size_t tensors = 64;
  for (const SumBlock &block : blocks) tensors += block.tensors();

  Graph read(device, tensors);
  const SliceMatrix matrix(read, tensor, chunk.place);
  Read made;
  made.saved = matrix.rows_of(units);
  made.from = matrix.rows_of(chunk.copied_from);
  undo.take(read, matrix, chunk.place, made.saved);
  if (!made.from.empty()) {
    ggml_tensor *from = read.input(GGML_TYPE_I32, static_cast<int64_t>(made.from.size()), 1, made.from.data());
    made.copied = read.keep(ggml_get_rows(read.context(), matrix.raw(read), from));
  }
  for (SumBlock &block : blocks) block.build(read, matrix);
  read.run(device.reading());
  undo.saved();
  faults.here("after the old rows were saved");

  const std::vector<int64_t> copied_to = wide(matrix.rows_of(chunk.copied_to));
  const std::vector<int64_t> given_to = wide(matrix.rows_of(chunk.given_to));
  Graph copies(device, 64);
  if (made.copied != nullptr) {
    const auto count = static_cast<int64_t>(copied_to.size());
    ggml_tensor *words = made_before(copies.context(), made.copied, GGML_TYPE_F32, matrix.words(), count);
    copies.add(stored(copies, matrix, words, copied_to));
  }
  copies.run(device.writing());
  faults.here("while the new rows were written");

  Graph rest(device, 64 + 8 * blocks.size());
  if (!given_to.empty()) {
    ggml_tensor *words =
        rest.input(GGML_TYPE_F32, matrix.words(), static_cast<int64_t>(given_to.size()), chunk.given.data());
    rest.add(stored(rest, matrix, words, given_to));
  }
  for (const SumBlock &block : blocks) block.store(rest, matrix);
  rest.run(device.writing());
  Graph back(device, 16);
  matrix.put_back(back);
  back.run(device.writing());
  faults.here("after the new rows were written");
  return faults.passed();
}

void DeviceFold::roll_back() {
  for (size_t i = undo_.size(); i-- > 0;) {
    const CacheTensor &tensor = tensors_->tensor(static_cast<uint32_t>(i / 2), static_cast<uint32_t>(i % 2));
    undo_[i].restore(devices_.of(tensor.root));
  }
}

}  // namespace kvfold

// See undo_log.h.
#include "undo_log.h"

#include "failure.h"

namespace kvfold {

UndoLog::UndoLog(Device &device, const CacheTensor &tensor, uint32_t rows, bool on_host) : tensor_(tensor) {
  const size_t alignment = ggml_backend_buft_get_alignment(device.memory());
  head_bytes_ = (rows * tensor.slice_bytes() + alignment - 1) / alignment * alignment;
  bytes_ = head_bytes_ * static_cast<size_t>(tensor.heads);
  if (!on_host && bytes_ <= ggml_backend_buft_get_max_size(device.memory()) && bytes_ <= device.free_bytes() / 2)
    buffer_.reset(ggml_backend_buft_alloc_buffer(device.memory(), bytes_));
  if (buffer_ == nullptr) host_.resize(bytes_);
}

void UndoLog::take(Graph &graph, const SliceMatrix &matrix, const SlicePlace &place,
                   const std::vector<int32_t> &rows) {
  next_ = {place, {rows.begin(), rows.end()}, matrix.words(), head_bytes_ * static_cast<size_t>(place.first_head)};
  const size_t bytes = rows.size() * static_cast<size_t>(next_.words) * sizeof(float);
  if (bytes > head_bytes_ * static_cast<size_t>(place.heads))
    throw Failure("KVFOLD_ARGUMENT", "more rows are written than the fold was opened for");
  ggml_tensor *from = graph.input(GGML_TYPE_I32, static_cast<int64_t>(rows.size()), 1, rows.data());
  taken_ = ggml_get_rows(graph.context(), matrix.raw(graph), from);
  if (buffer_ != nullptr) {
    auto *base = static_cast<uint8_t *>(ggml_backend_buffer_get_base(buffer_.get()));
    ggml_backend_tensor_alloc(buffer_.get(), taken_, base + next_.at);
  }
  graph.keep(taken_);
}

void UndoLog::saved() {
  if (buffer_ == nullptr) ggml_backend_tensor_get(taken_, host_.data() + next_.at, 0, ggml_nbytes(taken_));
  entries_.push_back(std::move(next_));
}

void UndoLog::restore(Device &device) {
  while (!entries_.empty()) {
    const Entry &entry = entries_.back();
    const auto count = static_cast<int64_t>(entry.rows.size());
    Graph before(device, 16), graph(device, 16);
    const SliceMatrix matrix(before, tensor_, entry.place);
    before.run(device.reading());
    ggml_context *context = graph.context();
    ggml_tensor *old = nullptr;
    if (buffer_ == nullptr) {
      old = graph.input(GGML_TYPE_F32, entry.words, count, host_.data() + entry.at);
    } else {
      auto *base = static_cast<uint8_t *>(ggml_backend_buffer_get_base(buffer_.get()));
      old = ggml_new_tensor_2d(context, GGML_TYPE_F32, entry.words, count);
      ggml_backend_tensor_alloc(buffer_.get(), old, base + entry.at);
    }
    ggml_tensor *to = graph.input(GGML_TYPE_I64, count, 1, entry.rows.data());
    graph.add(ggml_set_rows(context, matrix.raw_again(graph), old, to));
    graph.run(device.writing());
    Graph after(device, 16);
    matrix.put_back(after);
    after.run(device.writing());
    entries_.pop_back();
  }
}

}  // namespace kvfold

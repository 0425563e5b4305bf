// See cache_tensor.h.
#include "cache_tensor.h"

#include "failure.h"

namespace kvfold {

SliceMatrix::SliceMatrix(Graph &graph, const CacheTensor &tensor, const SlicePlace &place)
    : tensor_(tensor), place_(place) {
  if (place.first_head < 0 || place.heads < 1 || place.heads > tensor.heads - place.first_head ||
      place.cells < 1 || place.cells > tensor.capacity)
    throw Failure("KVFOLD_ARGUMENT", "heads or cells lie outside of the cache");
  if (place.whole_cells && (tensor.transposed || place.heads != tensor.heads))
    throw Failure("KVFOLD_ARGUMENT", "whole cells are all heads of a row");
  columns_ = place.whole_cells ? tensor.heads * tensor.dim : tensor.dim;
  const int64_t of_cell = place.whole_cells ? 1 : tensor.transposed ? place.heads : tensor.heads;
  rows_ = of_cell * (tensor.transposed ? place.cells : tensor.capacity);
  if (ggml_row_size(tensor.type(), columns_) % 4 != 0)
    throw Failure("KVFOLD_UNSUPPORTED", "a slice of the cache is not a whole number of 32-bit words");
  if (rows_ > INT32_MAX) throw Failure("KVFOLD_UNSUPPORTED", "the cache has too many cells for 32-bit indices");
  if (!tensor.transposed) return;
  copy_ = graph.keep(ggml_cont(graph.context(), across(graph.context(), lanes(graph.context()))));
}

// Channels and cells change places, with two dimensions of length 1 between them: every backend has a plain strided copy
// for that, whatever it does with matrices.
ggml_tensor *SliceMatrix::across(ggml_context *context, ggml_tensor *lanes) {
  return ggml_permute(context, lanes, 3, 1, 2, 0);
}

// The channels of the heads as they lie. [channels, 1, 1, cells]
ggml_tensor *SliceMatrix::lanes(ggml_context *context) const {
  const size_t lane = static_cast<size_t>(tensor_.capacity) * ggml_type_size(tensor_.type());
  const size_t from = tensor_.offset + static_cast<size_t>(place_.first_head * tensor_.dim) * lane;
  return ggml_view_4d(context, tensor_.root, place_.cells, 1, 1, place_.heads * tensor_.dim, lane, lane, lane, from);
}

int32_t SliceMatrix::row_of(int32_t unit) const {
  if (copy_ == nullptr || place_.heads == tensor_.heads) return unit;
  const auto all = static_cast<int32_t>(tensor_.heads);
  return unit / all * static_cast<int32_t>(place_.heads) + (unit % all - static_cast<int32_t>(place_.first_head));
}

std::vector<int32_t> SliceMatrix::rows_of(const std::vector<int32_t> &units) const {
  std::vector<int32_t> rows(units.size());
  for (size_t i = 0; i < units.size(); i++) rows[i] = row_of(units[i]);
  return rows;
}

ggml_tensor *SliceMatrix::look(Graph &graph, bool words, bool later) const {
  const ggml_type type = words ? GGML_TYPE_F32 : tensor_.type();
  const int64_t columns = words ? this->words() : columns_;
  if (copy_ == nullptr) return view_over(graph.context(), tensor_.root, tensor_.offset, type, columns, rows_);
  if (later) return made_before(graph.context(), copy_, type, columns, rows_);
  return view_over(graph.context(), copy_, 0, type, columns, rows_);
}

void SliceMatrix::put_back(Graph &graph) const {
  if (copy_ == nullptr) return;
  ggml_context *context = graph.context();
  const int64_t channels = place_.heads * tensor_.dim;
  ggml_tensor *copy = made_before(context, copy_, tensor_.type(), channels, place_.cells);
  ggml_tensor *cells = ggml_reshape_4d(context, copy, channels, 1, 1, place_.cells);
  graph.add(ggml_cpy(context, across(context, cells), lanes(context)));
}

}  // namespace kvfold

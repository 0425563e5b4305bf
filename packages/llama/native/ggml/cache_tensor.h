// Keys or values of one layer in one stream, wherever they lie, cut into slices: one head of one cell.
#pragma once

#include <cstdint>
#include <vector>

#include "graph.h"

namespace kvfold {

// rows:        cell after cell, heads side by side       unit u = cell * heads + head
// transposed:  channel after channel, cell c of channel j at j * capacity + c
struct CacheTensor {
  ggml_tensor *root = nullptr;
  size_t offset = 0;  // bytes before the stream
  int64_t heads = 0, dim = 0, capacity = 0;
  bool transposed = false;

  ggml_type type() const { return root->type; }
  size_t slice_bytes() const { return ggml_row_size(root->type, dim); }
  size_t row_bytes() const { return static_cast<size_t>(heads) * slice_bytes(); }
};

// Which slices of a tensor are looked at. Whole cells count as one slice each where nothing tells the heads apart.
struct SlicePlace {
  int64_t first_head = 0, heads = 0;
  bool whole_cells = false;
  int64_t cells = 0;  // physical cells from 0 that may be asked for; the rest of a transposed tensor is not copied
};

// Slices of some heads as the rows of a matrix, in the place where they lie, or in a transposed copy.
class SliceMatrix {
 public:
  // Adds the copy of a transposed tensor to the graph.
  SliceMatrix(Graph &graph, const CacheTensor &tensor, const SlicePlace &place);

  int64_t columns() const { return columns_; }
  int64_t words() const { return static_cast<int64_t>(ggml_row_size(tensor_.type(), columns_) / 4); }
  // Row of the matrix for the slice of a cell's head, counted over all heads of the tensor.
  int32_t row_of(int32_t unit) const;
  std::vector<int32_t> rows_of(const std::vector<int32_t> &units) const;

  // In the graph that the matrix was made in: raw 32-bit words, or values of the tensor's type.
  ggml_tensor *raw(Graph &graph) const { return look(graph, true, false); }
  ggml_tensor *typed(Graph &graph) const { return look(graph, false, false); }
  // In a later graph.
  ggml_tensor *raw_again(Graph &graph) const { return look(graph, true, true); }
  ggml_tensor *typed_again(Graph &graph) const { return look(graph, false, true); }
  // Adds what brings a changed copy back; nothing for slices in their own place.
  void put_back(Graph &graph) const;

 private:
  ggml_tensor *look(Graph &graph, bool words, bool later) const;
  ggml_tensor *lanes(ggml_context *context) const;
  static ggml_tensor *across(ggml_context *context, ggml_tensor *lanes);

  CacheTensor tensor_;
  SlicePlace place_;
  int64_t columns_, rows_;
  ggml_tensor *copy_ = nullptr;  // [cells, 1, 1, heads * dim]
};

}  // namespace kvfold

// See graph.h.
#include "graph.h"

#include "failure.h"

namespace kvfold {

Graph::Graph(Device &device, size_t tensors) : device_(device) {
  ggml_init_params params{};
  params.mem_size = ggml_tensor_overhead() * tensors + ggml_graph_overhead_custom(tensors, false);
  params.no_alloc = true;
  context_.reset(ggml_init(params));
  if (context_ == nullptr) throw Failure("KVFOLD_NATIVE", "out of memory for a graph");
  graph_ = ggml_new_graph_custom(context_.get(), tensors, false);
}

ggml_tensor *Graph::input(ggml_type type, int64_t columns, int64_t rows, int64_t planes, const void *data) {
  ggml_tensor *tensor = ggml_new_tensor_3d(context_.get(), type, columns, rows, planes);
  ggml_set_input(tensor);
  inputs_.push_back({tensor, data});
  return tensor;
}

ggml_tensor *Graph::keep(ggml_tensor *node) {
  ggml_set_output(node);
  add(node);
  return node;
}

void Graph::run(Scratch &scratch) {
  if (ggml_graph_n_nodes(graph_) == 0) return;
  for (int i = 0; i < ggml_graph_n_nodes(graph_); i++) {
    const ggml_tensor *node = ggml_graph_node(graph_, i);
    if (!ggml_backend_supports_op(device_.backend(), node))
      throw Failure("KVFOLD_UNSUPPORTED", device_.name() + " cannot compute " + ggml_op_desc(node) + " of this cache");
  }
  if (!scratch.allocate(graph_))
    throw Failure("KVFOLD_NATIVE", device_.name() + " has no memory for the rows of a fold",
                  "use a smaller context, or fewer layers on the device");
  for (const Input &input : inputs_) {
    // an input that no node reads has no memory
    if (input.tensor->buffer == nullptr) continue;
    ggml_backend_tensor_set(input.tensor, input.data, 0, ggml_nbytes(input.tensor));
  }
  const ggml_status status = ggml_backend_graph_compute(device_.backend(), graph_);
  ggml_backend_synchronize(device_.backend());
  if (status != GGML_STATUS_SUCCESS)
    throw Failure("KVFOLD_NATIVE", device_.name() + " failed to compute: " + ggml_status_to_string(status));
}

ggml_tensor *view_over(ggml_context *context, ggml_tensor *node, size_t offset, ggml_type type, int64_t columns,
                       int64_t rows) {
  const size_t row = ggml_row_size(type, columns), size = ggml_nbytes(node);
  if (offset > size || static_cast<size_t>(rows) > (size - offset) / row)
    throw Failure("KVFOLD_INTERNAL", "a view reaches past the end of its tensor");
  ggml_tensor *view = ggml_view_1d(context, node, 0, offset);
  view->type = type;
  view->ne[0] = columns;
  view->ne[1] = rows;
  view->nb[0] = ggml_type_size(type);
  view->nb[1] = row;
  view->nb[2] = view->nb[3] = row * static_cast<size_t>(rows);
  return view;
}

ggml_tensor *made_before(ggml_context *context, ggml_tensor *made, ggml_type type, int64_t columns, int64_t rows) {
  ggml_tensor *leaf = ggml_new_tensor_2d(context, type, columns, rows);
  if (ggml_nbytes(leaf) > ggml_nbytes(made))
    throw Failure("KVFOLD_INTERNAL", "a view reaches past the end of its tensor");
  if (ggml_backend_tensor_alloc(made->buffer, leaf, made->data) != GGML_STATUS_SUCCESS)
    throw Failure("KVFOLD_NATIVE", "the device refuses a tensor");
  return leaf;
}

}  // namespace kvfold

// A small graph on one device: nodes are added, inputs are filled, everything is computed at once.
#pragma once

#include <memory>
#include <vector>

#include "device.h"
#include "ggml.h"

namespace kvfold {

struct FreeContext {
  void operator()(ggml_context *context) const { ggml_free(context); }
};
using ContextPointer = std::unique_ptr<ggml_context, FreeContext>;

class Graph {
 public:
  // At most so many tensors, inputs and views included.
  Graph(Device &device, size_t tensors);

  ggml_context *context() const { return context_.get(); }
  // Filled when the graph runs; the caller keeps `data` until then.
  ggml_tensor *input(ggml_type type, int64_t columns, int64_t rows, const void *data) {
    return input(type, columns, rows, 1, data);
  }
  ggml_tensor *input(ggml_type type, int64_t columns, int64_t rows, int64_t planes, const void *data);
  // Computed in the order in which they are added.
  void add(ggml_tensor *node) { ggml_build_forward_expand(graph_, node); }
  // The same; the result outlives the graph's run.
  ggml_tensor *keep(ggml_tensor *node);
  // @throws KVFOLD_UNSUPPORTED for an operation that the device lacks, KVFOLD_NATIVE
  void run(Scratch &scratch);

 private:
  struct Input {
    ggml_tensor *tensor;
    const void *data;
  };
  Device &device_;
  ContextPointer context_;
  ggml_cgraph *graph_;
  std::vector<Input> inputs_;
};

// Another look at the bytes of a tensor from `offset` on: [rows, columns] of a type. @throws KVFOLD_INTERNAL past its end
ggml_tensor *view_over(ggml_context *context, ggml_tensor *tensor, size_t offset, ggml_type type, int64_t columns,
                       int64_t rows);
// What an earlier graph made and kept, as a leaf of this one: its making is not computed again. Floats only: devices may
// write padding behind quantised tensors.
ggml_tensor *made_before(ggml_context *context, ggml_tensor *made, ggml_type type, int64_t columns, int64_t rows);

}  // namespace kvfold

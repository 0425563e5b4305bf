// How the work on all tensors of a fold is cut into tasks for the pool.
#ifndef KVFOLD_CPU_FOLD_TASKS_H
#define KVFOLD_CPU_FOLD_TASKS_H

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/tensor.h"
#include "cpu/arch/arch.h"

namespace kvfold {
namespace cpu {

/// A part of one tensor: rows of a row layout, channels of one head of a transposed one.
struct FoldTask {
  uint32_t tensor;
  size_t head;
  size_t from, to;
};

class FoldTasks {
 public:
  static constexpr size_t kChannels = 16;

  void reserve(size_t tensors) {
    parts_.reserve(tensors);
    begins_.reserve(tensors);
  }
  /// A task writes about `bytes`.
  void add(const Tensor &tensor, size_t rows, size_t bytes) {
    Part part{tensor.transposed, 0, 0, begins_.empty() ? 0 : begins_.back()};
    part.of_head = tensor.transposed ? tensor.dim : rows;
    const size_t tasks = std::max<size_t>(1, rows * tensor.row_bytes / bytes);
    part.step = tensor.transposed ? kChannels : (rows + tasks - 1) / tasks;
    const size_t count = (part.of_head + part.step - 1) / part.step * (tensor.transposed ? tensor.heads : 1);
    parts_.push_back(part);
    begins_.push_back(part.begin + count);
  }
  size_t begin(uint32_t tensor) const { return parts_[tensor].begin; }
  size_t end(uint32_t tensor) const { return begins_[tensor]; }
  size_t count() const { return begins_.empty() ? 0 : begins_.back(); }

  FoldTask at(size_t task) const {
    const auto found = std::upper_bound(begins_.begin(), begins_.end(), task);
    const auto tensor = static_cast<uint32_t>(found - begins_.begin());
    const Part &part = parts_[tensor];
    const size_t steps = (part.of_head + part.step - 1) / part.step, index = task - part.begin;
    const size_t from = index % steps * part.step;
    return {tensor, index / steps, from, std::min(part.of_head, from + part.step)};
  }

 private:
  struct Part {
    bool transposed;
    size_t of_head, step, begin;
  };
  std::vector<Part> parts_;
  std::vector<size_t> begins_;  // of the tensor after
};

/// memcpy, or past the caches.
struct Copy {
  bool streaming;
  void operator()(uint8_t *to, const uint8_t *from, size_t bytes) const {
    if (streaming) kernels().stream(to, from, bytes);
    else std::memcpy(to, from, bytes);
  }
  /// At the end of a task.
  void finish() const {
    if (streaming) kernels().fence();
  }
};

}  // namespace cpu
}  // namespace kvfold

#endif

// The old bytes of the cells that a fold overwrites in one tensor, on its device or in host memory.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cache_tensor.h"

namespace kvfold {

struct FreeBuffer {
  void operator()(ggml_backend_buffer_t buffer) const { ggml_backend_buffer_free(buffer); }
};
using BufferPointer = std::unique_ptr<ggml_backend_buffer, FreeBuffer>;

class UndoLog {
 public:
  // Reserves the room. On the device unless it has no more than twice the room free, or the host is asked for.
  UndoLog(Device &device, const CacheTensor &tensor, uint32_t rows, bool on_host);

  size_t bytes() const { return bytes_; }

  // Adds to a graph what takes rows of the matrix out of the cache, before they are written. After the run: `saved`.
  void take(Graph &graph, const SliceMatrix &matrix, const SlicePlace &place, const std::vector<int32_t> &rows);
  // What was taken is safe, and will be put back.
  void saved();
  // Puts everything back, the last first. A restored entry leaves the log, so an interrupted call can be repeated.
  void restore(Device &device);

 private:
  struct Entry {
    SlicePlace place;
    std::vector<int64_t> rows;  // of the matrix
    int64_t words = 0;          // of a row
    size_t at = 0;              // byte in the log
  };

  const CacheTensor tensor_;
  size_t head_bytes_ = 0, bytes_ = 0;
  BufferPointer buffer_;
  std::vector<uint8_t> host_;
  std::vector<Entry> entries_;
  Entry next_;
  ggml_tensor *taken_ = nullptr;
};

}  // namespace kvfold

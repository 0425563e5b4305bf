// Tensors of a cache as kernels bind them, and the steps on rows of floats that several operations share.
#ifndef KVFOLD_METAL_CACHE_H
#define KVFOLD_METAL_CACHE_H

#include "common/tensor.h"
#include "kvfold/backend.h"
#include "metal/device.h"

namespace kvfold {
namespace metal {

/// Keys or values of a layer where the GPU can reach them: the owner's memory itself, or, where Metal does not take that
/// range, a copy.
class CacheBuffer {
 public:
  /// False when the device has no memory for a copy.
  bool open(const Tensor &tensor);
  const Buffer &buffer() const { return buffer_; }
  TensorLayout layout() const;
  /// Puts the destination rows of a copy into the owner's memory.
  void publish(const kvfold_u32_span &destinations) const;

 private:
  Tensor tensor_{};
  uint64_t bytes_ = 0;
  Buffer buffer_;
  bool copied_ = false;
};

/// Chunks of channels that a thread takes.
inline uint32_t chunks_of(uint32_t dim) { return (dim + kChunk - 1) / kChunk; }

/// The pairs that a layer rotates; none without RoPE.
RopeLayout rope_of(const kvfold_memory_layer &layer);
/// Frequencies as turns in 64-bit fixed point: phase = positions * turns, modulo one turn. [rope_dims / 2]
bool load_turns(const kvfold_memory_layer &layer, Buffer *turns);

/// One head as floats: entries are slots, or marked numbers of computed slices (rows.metal). out: [rows, dim]
struct HeadRows {
  const CacheBuffer &cache;
  const Tensor &tensor;
  const Buffer &scratch;  // any buffer when no entry is marked
  Bound entries;
  uint64_t rows;
  uint32_t before, count;  // computed slices before the head and in it
};
void decode_head(Work *work, const HeadRows &from, uint32_t head, const Buffer &out);
/// The Hadamard transform on rows of floats [rows, dim]; nothing for a block of 0 or 1.
void transform_rows(Work *work, uint32_t block, uint32_t dim, uint64_t rows, const Buffer &out);
/// Turns rows of floats [rows, dim] by deltas, int64 [rows].
void rotate_rows(Work *work, const RopeLayout &rope, uint32_t dim, uint64_t rows, const Buffer &out,
                 const Buffer &deltas, const Buffer &turns);

}  // namespace metal
}  // namespace kvfold

#endif

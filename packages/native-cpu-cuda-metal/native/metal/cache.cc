// Tensors of a cache as kernels bind them, and steps on rows of floats.
#include "metal/cache.h"

#include <cmath>
#include <cstring>

#include "common/scratch.h"

namespace kvfold {
namespace metal {
namespace {

static_assert(kF32 == KVFOLD_F32 && kF16 == KVFOLD_F16 && kBf16 == KVFOLD_BF16, "layout.h repeats memory.h");
static_assert(kQ8_0 == KVFOLD_Q8_0 && kQ4_0 == KVFOLD_Q4_0 && kQ4_1 == KVFOLD_Q4_1, "layout.h repeats memory.h");
static_assert(kQ5_0 == KVFOLD_Q5_0 && kQ5_1 == KVFOLD_Q5_1 && kChunk == kBlockChannels, "layout.h repeats memory.h");

/// The fraction of a turn in units of 2^-64. The quotient is good to 2^-53 of itself, and so are angles.
uint64_t fixed_turns(double frequency) {
  const double turns = frequency / 6.283185307179586;
  const double high = std::ldexp(turns - std::floor(turns), 32), whole = std::floor(high);
  return (static_cast<uint64_t>(whole) << 32) + static_cast<uint64_t>(std::ldexp(high - whole, 32));
}

}  // namespace

bool CacheBuffer::open(const Tensor &tensor) {
  tensor_ = tensor;
  bytes_ = static_cast<uint64_t>(tensor.row_bytes) * tensor.capacity;  // kvfold_check_memory has multiplied them
  copied_ = !buffer_.wrap(tensor.data, bytes_);
  return !copied_ || buffer_.assign(tensor.data, bytes_);
}

TensorLayout CacheBuffer::layout() const {
  return {buffer_.base(),
          static_cast<uint32_t>(tensor_.type),
          tensor_.heads,
          tensor_.dim,
          tensor_.transposed ? 1u : 0u,
          static_cast<uint32_t>(tensor_.capacity),
          static_cast<uint32_t>(tensor_.element_bytes),
          static_cast<uint32_t>(tensor_.slice_bytes),
          static_cast<uint32_t>(tensor_.row_bytes)};
}

void CacheBuffer::publish(const kvfold_u32_span &destinations) const {
  if (!copied_) return;
  Tensor copy = tensor_;
  copy.data = buffer_.as<uint8_t>();
  const size_t lanes = tensor_.transposed ? size_t{tensor_.heads} * tensor_.dim : 1;
  const size_t bytes = tensor_.transposed ? tensor_.element_bytes : tensor_.row_bytes;
  for (size_t lane = 0; lane < lanes; lane++) {
    uint8_t *to = tensor_.channel(lane);  // lane 0 of a tensor in rows is all of it
    const uint8_t *from = copy.channel(lane);
    for (uint64_t i = 0; i < destinations.length; i++)
      std::memcpy(to + destinations.data[i] * bytes, from + destinations.data[i] * bytes, bytes);
  }
}

RopeLayout rope_of(const kvfold_memory_layer &layer) {
  const uint32_t pairs = layer.rope_pairing == KVFOLD_ROPE_NONE ? 0 : layer.rope_dims / 2;
  return {pairs, layer.rope_pairing == KVFOLD_ROPE_INTERLEAVED ? 1u : 0u};
}

bool load_turns(const kvfold_memory_layer &layer, Buffer *turns) {
  const uint32_t pairs = rope_of(layer).pairs;
  if (!turns->allocate(pairs * sizeof(uint64_t))) return false;
  for (uint32_t i = 0; i < pairs; i++) turns->as<uint64_t>()[i] = fixed_turns(layer.rope_frequencies[i]);
  return true;
}

void decode_head(Work *work, const HeadRows &from, uint32_t head, const Buffer &out) {
  const uint32_t chunks = chunks_of(from.tensor.dim);
  const DecodeParameters parameters = {0,          from.cache.layout(), head, static_cast<uint32_t>(from.rows), chunks,
                                       from.before, from.count};
  work->run("decode_rows", parameters, from.rows * chunks, {from.cache.buffer(), from.scratch, from.entries, out});
}

void transform_rows(Work *work, uint32_t block, uint32_t dim, uint64_t rows, const Buffer &out) {
  if (block < 2) return;
  RowsParameters parameters{};
  parameters.rows = static_cast<uint32_t>(rows);
  parameters.dim = dim;
  parameters.block = block;
  parameters.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
  work->run("hadamard_rows", parameters, rows * (dim / block), {out});
}

void rotate_rows(Work *work, const RopeLayout &rope, uint32_t dim, uint64_t rows, const Buffer &out,
                 const Buffer &deltas, const Buffer &turns) {
  RowsParameters parameters{};
  parameters.rows = static_cast<uint32_t>(rows);
  parameters.dim = dim;
  parameters.rope = rope;
  work->run("rotate_rows", parameters, rows * rope.pairs, {out, deltas, turns});
}

}  // namespace metal
}  // namespace kvfold

// attend: blocks of 48 query rows in at most 16 chunks; statistics are joined in a chunk block by block, then chunk by
// chunk in order, so that the result does not know how many threads there were.
#include <cmath>
#include <cstring>

#include "attention.h"
#include "block.h"
#include "check.h"
#include "common/error.h"
#include "isa.h"

namespace kvfold {
namespace attention {
namespace {

/// More would only cost memory: with more threads than this, callers work on several heads at once.
constexpr size_t kChunks = 16;

struct Shape {
  size_t blocks, chunks, block_offset, sums_offset;
  PackedLayout packed;
  uint64_t block_floats;
  Layout layout;

  /// First block of a chunk.
  size_t start(size_t chunk) const { return blocks * chunk / chunks; }
};

Shape shape_of(const kvfold_attend_input &input, uint32_t threads) {
  Shape shape = {};
  shape.blocks = (input.rows + kLanes - 1) / kLanes;
  shape.chunks = shape.blocks < kChunks ? shape.blocks : kChunks;
  if (!block_floats(input.cells, input.key_dim, input.value_dim, &shape.block_floats)) shape.block_floats = UINT64_MAX;
  shape.block_offset = shape.layout.floats(shape.block_floats, threads);
  shape.sums_offset = shape.layout.floats(3 * shape.chunks, input.cells);
  shape.packed = packed_layout(input.cells, input.key_dim, input.value_dim, input.bias.length > 0, &shape.layout);
  return shape;
}

struct Run {
  const Kernels &kernels;
  const kvfold_attend_input &input;
  const kvfold_attend_output &output;
  const Shape &shape;
  const Arena &arena;
  Parallel &parallel;
  Head head;

  bool counts() const { return output.maximum.length + output.mean.length + output.rms.length > 0; }

  Sums sums(size_t chunk) const {
    float *from = arena.at(shape.sums_offset) + 3 * chunk * input.cells;
    return {from, from + input.cells, from + 2 * size_t{input.cells}};
  }

  void chunk(size_t index, uint32_t worker) const {
    const Sums sum = sums(index);
    std::memset(sum.maximum, 0, 3 * size_t{input.cells} * sizeof(float));
    const size_t end = shape.start(index + 1);
    for (size_t block = shape.start(index); block < end; block += kInStep) {
      if (!together(block, end - block < kInStep ? end - block : kInStep, worker, sum)) return;
    }
  }

  /// Some blocks in step. False when stopped.
  bool together(size_t first, size_t count, uint32_t worker, const Sums &sum) const {
    float *memory = arena.at(shape.block_offset) + worker * static_cast<size_t>(shape.block_floats);
    const size_t dim = input.value_dim;
    Rows rows[kInStep] = {};
    Block blocks[kInStep] = {};
    for (size_t i = 0; i < count; i++) {
      const size_t row = (first + i) * kLanes;
      blocks[i] = block_in(memory, input.cells, input.key_dim, dim, i);
      rows[i].count = input.rows - row < kLanes ? input.rows - row : kLanes;
      for (size_t lane = 0; lane < rows[i].count; lane++) rows[i].index[lane] = row + lane;
    }
    if (parallel.stop() || !attend_blocks(kernels, head, rows, blocks, count, parallel)) return false;
    for (size_t i = 0; i < count; i++) {
      if (counts()) join_block(blocks[i], sum);
      if (head.value_dim == 0) continue;
      float *to = output.outputs.data + rows[i].index[0] * dim;
      kernels.transpose(blocks[i].outputs, kLanes, dim, rows[i].count, to, dim);
    }
    return true;
  }

  void join_block(const Block &block, const Sums &sum) const {
    for (size_t cell = 0, tile = 0; cell < input.cells; cell += kTile, tile++) {
      const size_t cells = input.cells - cell < kTile ? input.cells - cell : kTile;
      kernels.statistics(block.tile(tile), cells, block.factors + tile * kLanes,
                         {sum.maximum + cell, sum.sum + cell, sum.squares + cell});
    }
  }

  void join() const {
    for (size_t cell = 0; cell < input.cells; cell++) {
      float maximum = 0;
      double total = 0, squares = 0;
      for (size_t c = 0; c < shape.chunks; c++) {
        const Sums part = sums(c);
        if (part.maximum[cell] > maximum) maximum = part.maximum[cell];
        total += part.sum[cell];
        squares += part.squares[cell];
      }
      if (output.maximum.length > 0) output.maximum.data[cell] = maximum;
      if (output.mean.length > 0) output.mean.data[cell] = static_cast<float>(total / input.rows);
      if (output.rms.length > 0) {
        output.rms.data[cell] = static_cast<float>(std::sqrt(squares / input.rows) / kSquareScale);
      }
    }
  }
};

}  // namespace
}  // namespace attention
}  // namespace kvfold

using namespace kvfold;
using namespace kvfold::attention;

extern "C" kvfold_status kvfold_attend_memory(const kvfold_attend_input *input, uint32_t threads, uint64_t *bytes,
                                              kvfold_error *error) {
  const kvfold_status status = check_attend_shape(input, threads, error);
  if (status != KVFOLD_OK) return status;
  if (bytes == nullptr) return fail(error, KVFOLD_STATUS_ARGUMENT, "nowhere to put the number of bytes");
  const Shape shape = shape_of(*input, threads);
  if (!shape.layout.fits()) return fail_memory(error, "attend");
  *bytes = shape.layout.bytes();
  return KVFOLD_OK;
}

extern "C" kvfold_status kvfold_attend(const kvfold_attend_input *input, const kvfold_attention_options *options,
                                       const kvfold_attend_output *output, kvfold_error *error) {
  kvfold_status status = check_options(options, error);
  if (status != KVFOLD_OK) return status;
  Parallel parallel(*options);
  status = check_attend_shape(input, parallel.threads(), error);
  if (status == KVFOLD_OK) status = check_attend(input, output, error);
  if (status != KVFOLD_OK) return status;
  const Kernels *kernels = kernels_named(options->isa);
  if (kernels == nullptr) return fail(error, KVFOLD_STATUS_UNSUPPORTED, "no instruction set %s here", options->isa);
  const Shape shape = shape_of(*input, parallel.threads());
  Arena arena;
  if (!arena.allocate(shape.layout)) return fail_memory(error, "attend");
  const bool valued = input->value_dim > 0 && output->outputs.length > 0;
  const PlainHead plain = {input->keys.data, valued ? input->values.data : nullptr,
                           input->bias.length > 0 ? input->bias.data : nullptr, input->cells, input->key_dim,
                           input->value_dim};
  const Head head = {input->queries.data, pack_head(*kernels, plain, shape.packed, arena, parallel), input->cells,
                     input->key_dim, valued ? input->value_dim : 0};
  const Run run = {*kernels, *input, *output, shape, arena, parallel, head};
  parallel.for_each(shape.chunks, [&run](size_t chunk, uint32_t worker) { run.chunk(chunk, worker); });
  if (parallel.stopped()) return fail_aborted(error);
  if (run.counts()) run.join();
  return KVFOLD_OK;
}

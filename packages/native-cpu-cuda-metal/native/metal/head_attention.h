// Attention of query rows over the cells of one KV head, gathered as work for the GPU; attend and fit share it.
#ifndef KVFOLD_METAL_HEAD_ATTENTION_H
#define KVFOLD_METAL_HEAD_ATTENTION_H

#include "metal/cache.h"

namespace kvfold {
namespace metal {

/// Sizes of one KV head.
struct HeadShape {
  uint64_t rows, cells;
  uint32_t key_dim, value_dim;  // value_dim 0: no outputs
};

/// What every block of query rows needs again.
class BlockBuffers {
 public:
  static uint64_t bytes(const HeadShape &shape);
  bool allocate(const HeadShape &shape);

  Buffer queries;     // [key_dim, lanes]
  Buffer weights;     // [cells, lanes]: scores, then exponentials
  Buffer factors;     // [segments, lanes]
  Buffer totals;      // [segments, lanes]
  Buffer partial;     // [segments, value_dim, lanes]
};

struct HeadInput {
  const Buffer &queries;  // [rows, key_dim]
  const Buffer &keys;     // [cells, key_dim]
  const Buffer &values;   // [cells, value_dim]
  const Buffer &bias;     // [cells]
  bool biased;
};

/// Where a block leaves what it found; NULL where nobody asks.
struct HeadOutput {
  const Buffer *maximum, *sums, *squares;  // [cells], joined to what is there
  const Buffer *outputs;                   // [rows, value_dim]
  bool subtract;                           // outputs become what is missing to what stands there
  const Buffer *free, *free_weights;       // [free], [rows, free]
  uint32_t free_count;
};

/// All blocks of the rows [first, end).
void attend_rows(Work *work, const HeadShape &shape, const HeadInput &input, const HeadOutput &output,
                 const BlockBuffers &block, uint64_t first, uint64_t end);

/// Finds the largest magnitude of an array once the work has run.
class Scan {
 public:
  bool gather(Work *work, const Buffer &numbers, uint64_t count);
  /// NaN when a number is not finite.
  float largest() const;

 private:
  Buffer partial_;
};

/// Numbers that an attention must not exceed, so that nothing overflows: the limits of attention.h of the CPU, with
/// key_dim max|q| max|k| in the place of |q||k|.
kvfold_status check_magnitudes(uint32_t key_dim, float queries, float keys, float values, float bias,
                               kvfold_error *error);
/// The largest magnitude of an array on the CPU; NaN when a number is not finite.
float largest_of(const float *numbers, uint64_t count);

/// Refuses work that needs more than the limit of the options.
kvfold_status check_limit(uint64_t bytes, const kvfold_options &options, kvfold_error *error);

/// Queries of one KV head as rows of floats, turned to after a position. `order`: the rows in their order, uint32
/// [rows]; out: [rows, key_dim]
struct QueryRows {
  const kvfold_turn &turn;
  const Buffer &bits;   // turn.queries.rows
  const Buffer &order;
  const Buffer &turns;  // load_turns of the layer
};
bool load_queries(Work *work, const QueryRows &from, uint32_t head, uint64_t rows, const Buffer &out);

}  // namespace metal
}  // namespace kvfold

#endif

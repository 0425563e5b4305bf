// Attention of query rows over the cells of one KV head, on the pool.
#ifndef KVFOLD_CPU_ATTEND_H
#define KVFOLD_CPU_ATTEND_H

#include "attention.h"
#include "common/tensor.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace cpu {

/// The pool in the words of the attention library. Stays where it is: the struct points at itself.
class AttentionRun {
 public:
  AttentionRun(const kvfold_options &options, uint32_t threads);
  AttentionRun(const AttentionRun &) = delete;
  AttentionRun &operator=(const AttentionRun &) = delete;
  const kvfold_attention_options *options() const { return &attention_; }

 private:
  kvfold_workers workers_;
  kvfold_attention_options attention_;
};

/// Bytes that work needs with that many threads.
using MemoryQuery = kvfold_status (*)(const void *context, uint32_t threads, uint64_t *bytes, kvfold_error *error);

/// The most threads, up to those of `options` and halving, that stay under the limit of memory; `*bytes` is what they
/// need. 0 when even one thread does not, with the reason in `error`.
uint32_t threads_within(const kvfold_options &options, MemoryQuery query, const void *context, uint64_t *bytes,
                        kvfold_error *error);

/// Rows of one head as floats. out: [cells, dim]; keys out of their Hadamard basis, values as they lie. False when
/// cancelled.
bool decode_head(const Tensor &tensor, const kvfold_u32_span &slots, size_t head, bool undo_hadamard,
                 const kvfold_options &options, float *out);

/// Samples of a checked request as query rows of the KV heads [from, to). out: [to - from, rows, key_dim]. False when
/// cancelled.
bool turn_heads(const kvfold_turn &turn, uint32_t from, uint32_t to, const kvfold_options &options, float *out);

}  // namespace cpu
}  // namespace kvfold

#endif

// Entries of the reference backend's table; see kvfold/backend.h.
#ifndef KVFOLD_REFERENCE_FOLD_H
#define KVFOLD_REFERENCE_FOLD_H

#include "kvfold/backend.h"

namespace kvfold {
namespace reference {

kvfold_status supports(const kvfold_memory_layer *layer, kvfold_error *error);
kvfold_status fold_prepare(const kvfold_target *target, const kvfold_plan *plan, const kvfold_options *options,
                           kvfold_fold **out, kvfold_error *error);
kvfold_status fold_commit(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
kvfold_status fold_rollback(kvfold_fold *fold, const kvfold_options *options, kvfold_error *error);
void fold_free(kvfold_fold *fold);
kvfold_status rope_prepare(const kvfold_rope *rope, const kvfold_options *options, kvfold_fold **out,
                           kvfold_error *error);
kvfold_status read_rows(const kvfold_read *read, const kvfold_options *options, float *out, kvfold_error *error);
kvfold_status key_stats(const kvfold_read *read, const kvfold_options *options, float *norm, float *mean_cosine,
                        kvfold_error *error);
kvfold_status turn_queries(const kvfold_turn *turn, const kvfold_options *options, float *out, kvfold_error *error);
kvfold_status attend(const kvfold_attention *attention, const kvfold_options *options,
                     kvfold_attention_result *result, kvfold_error *error);
kvfold_fold_report fold_report(const kvfold_fold *fold);

extern const kvfold_backend kBackend;

}  // namespace reference
}  // namespace kvfold

#endif

// What must hold before a pointer is followed: sizes, lengths, and numbers that cannot overflow on the way.
#ifndef KVFOLD_ATTENTION_CHECK_H
#define KVFOLD_ATTENTION_CHECK_H

#include "attention.h"

namespace kvfold {
namespace attention {

/// Sizes and options without a look at any array.
kvfold_status check_attend_shape(const kvfold_attend_input *input, uint32_t threads, kvfold_error *error);
kvfold_status check_fit_shape(const kvfold_fit_input *input, uint32_t threads, kvfold_error *error);

/// Everything else.
kvfold_status check_options(const kvfold_attention_options *options, kvfold_error *error);
kvfold_status check_attend(const kvfold_attend_input *input, const kvfold_attend_output *output, kvfold_error *error);
kvfold_status check_fit(const kvfold_fit_input *input, const kvfold_f32_buffer &values,
                        const kvfold_fit_report *report, kvfold_error *error);

}  // namespace attention
}  // namespace kvfold

#endif

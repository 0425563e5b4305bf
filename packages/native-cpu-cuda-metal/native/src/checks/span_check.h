// Arrays with a length and no address.
#ifndef KVFOLD_CHECKS_SPAN_CHECK_H
#define KVFOLD_CHECKS_SPAN_CHECK_H

#include "common/error.h"

namespace kvfold {

template <typename Span>
bool is_missing(const Span &span) {
  return span.length != 0 && span.data == nullptr;
}

inline kvfold_status fail_missing(kvfold_error *error, const char *name) {
  return fail(error, KVFOLD_STATUS_ARGUMENT, "%s: a length without an array", name);
}

}  // namespace kvfold

#endif

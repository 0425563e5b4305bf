// Statuses with a sentence: `return fail(error, KVFOLD_STATUS_ARGUMENT, "layer %u ...", layer)`.
#ifndef KVFOLD_COMMON_ERROR_H
#define KVFOLD_COMMON_ERROR_H

#include <cstdarg>
#include <cstdio>

#include "kvfold/fold.h"

namespace kvfold {

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
inline kvfold_status fail(kvfold_error *error, kvfold_status status, const char *format, ...) {
  if (error != nullptr) {
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
  }
  return status;
}

inline kvfold_status fail_memory(kvfold_error *error, const char *what) {
  return fail(error, KVFOLD_STATUS_NATIVE, "out of memory for %s", what);
}

/// Counts a fault point; true when this is the one that has to fail.
inline bool fault_here(const kvfold_options *options) {
  kvfold_faults *faults = options->faults;
  if (faults == nullptr) return false;
  return static_cast<int64_t>(faults->points++) == faults->fail_at;
}

inline kvfold_status fail_fault(const kvfold_options *options, kvfold_error *error, const char *where) {
  return fail(error, KVFOLD_STATUS_FAULT, "fault %lld injected %s", static_cast<long long>(options->faults->fail_at),
              where);
}

inline bool cancelled(const kvfold_options *options) {
  return options->cancelled != nullptr && options->cancelled(options->cancelled_data) != 0;
}

inline kvfold_status fail_aborted(kvfold_error *error) { return fail(error, KVFOLD_STATUS_ABORTED, "cancelled"); }

}  // namespace kvfold

#endif

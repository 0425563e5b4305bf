// Statuses as JavaScript errors with a `code`, and as exceptions of the add-on.
#ifndef KVFOLD_ADDON_ERRORS_H
#define KVFOLD_ADDON_ERRORS_H

#include <napi.h>

#include "kvfold/fold.h"

namespace kvfold {
namespace addon {

Napi::Error make_error(Napi::Env env, const kvfold_error &error);
[[noreturn]] void throw_error(Napi::Env env, kvfold_status status, const std::string &message);
/// Throws unless the status is KVFOLD_OK.
void throw_unless_ok(Napi::Env env, kvfold_status status, const kvfold_error &error);

}  // namespace addon
}  // namespace kvfold

#endif

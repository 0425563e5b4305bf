// Statuses as JavaScript errors with a `code`; TypeScript makes a KvfoldError of them.
#include "addon/errors.h"

#include <algorithm>
#include <cstring>

namespace kvfold {
namespace addon {

Napi::Error make_error(Napi::Env env, const kvfold_error &error) {
  Napi::Error made = Napi::Error::New(env, error.message);
  made.Value().Set("code", Napi::String::New(env, kvfold_status_code(error.status)));
  return made;
}

void throw_error(Napi::Env env, kvfold_status status, const std::string &message) {
  kvfold_error error{status, {}};
  std::memcpy(error.message, message.data(), std::min(message.size(), sizeof error.message - 1));
  throw make_error(env, error);
}

void throw_unless_ok(Napi::Env env, kvfold_status status, const kvfold_error &error) {
  if (status != KVFOLD_OK) throw make_error(env, error);
}

}  // namespace addon
}  // namespace kvfold

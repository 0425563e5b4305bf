// The transaction functions of the add-on.
#ifndef KVFOLD_ADDON_FOLD_WORKER_H
#define KVFOLD_ADDON_FOLD_WORKER_H

#include <napi.h>

namespace kvfold {
namespace addon {

Napi::Value prepare(const Napi::CallbackInfo &info);
Napi::Value prepare_shift(const Napi::CallbackInfo &info);
Napi::Value commit(const Napi::CallbackInfo &info);
Napi::Value rollback(const Napi::CallbackInfo &info);
Napi::Value dispose(const Napi::CallbackInfo &info);

}  // namespace addon
}  // namespace kvfold

#endif

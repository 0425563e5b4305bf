// The reading functions of the add-on.
#ifndef KVFOLD_ADDON_READ_WORKER_H
#define KVFOLD_ADDON_READ_WORKER_H

#include <napi.h>

namespace kvfold {
namespace addon {

Napi::Value read_rows(const Napi::CallbackInfo &info);
Napi::Value key_stats(const Napi::CallbackInfo &info);

}  // namespace addon
}  // namespace kvfold

#endif

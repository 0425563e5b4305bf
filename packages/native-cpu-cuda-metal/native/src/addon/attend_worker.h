// Turning queries and attending with them, off the event loop.
#ifndef KVFOLD_ADDON_ATTEND_WORKER_H
#define KVFOLD_ADDON_ATTEND_WORKER_H

#include <napi.h>

namespace kvfold {
namespace addon {

Napi::Value turn_queries(const Napi::CallbackInfo &info);
Napi::Value attend(const Napi::CallbackInfo &info);

}  // namespace addon
}  // namespace kvfold

#endif

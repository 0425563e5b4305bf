// Times operations off the event loop.
#ifndef KVFOLD_ADDON_BENCH_WORKER_H
#define KVFOLD_ADDON_BENCH_WORKER_H

#include <napi.h>

namespace kvfold {
namespace addon {

Napi::Value bench_operations(const Napi::CallbackInfo &info);
Napi::Value bench(const Napi::CallbackInfo &info);

}  // namespace addon
}  // namespace kvfold

#endif

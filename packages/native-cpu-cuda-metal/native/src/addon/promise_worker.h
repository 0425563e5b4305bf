// One job on a thread of libuv's pool that ends in a promise.
#ifndef KVFOLD_ADDON_PROMISE_WORKER_H
#define KVFOLD_ADDON_PROMISE_WORKER_H

#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "addon/errors.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace addon {

/// Raised by JavaScript while a job runs, polled by its threads.
using AbortFlag = std::shared_ptr<std::atomic<int>>;

inline int is_raised(void *flag) { return static_cast<std::atomic<int> *>(flag)->load(std::memory_order_relaxed); }

/// `work` runs off the event loop; `settle` runs on it afterwards, whatever came of the work, and gives the value of
/// the promise. Closures own what the job uses and are destroyed on the event loop.
class PromiseWorker : public Napi::AsyncWorker {
 public:
  using Work = std::function<kvfold_status(kvfold_error *)>;
  using Settle = std::function<Napi::Value(Napi::Env, kvfold_status)>;

  static Napi::Promise start(Napi::Env env, Work work, Settle settle) {
    auto *worker = new PromiseWorker(env, std::move(work), std::move(settle));  // deletes itself when done
    const Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();
    return promise;
  }

 protected:
  void Execute() override { status_ = work_(&error_); }

  void OnOK() override {
    const Napi::Value value = settle_(Env(), status_);
    if (status_ == KVFOLD_OK) deferred_.Resolve(value);
    else deferred_.Reject(make_error(Env(), error_).Value());
  }

  /// Only an exception that nobody foresaw comes here.
  void OnError(const Napi::Error &error) override {
    settle_(Env(), KVFOLD_STATUS_NATIVE);
    deferred_.Reject(error.Value());
  }

 private:
  PromiseWorker(Napi::Env env, Work work, Settle settle)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)),
        settle_(std::move(settle)) {}

  Napi::Promise::Deferred deferred_;
  Work work_;
  Settle settle_;
  kvfold_status status_ = KVFOLD_OK;
  kvfold_error error_{};
};

/// The flag behind a tagged External, or an own one that nobody raises.
AbortFlag flag_argument_or_none(const Napi::Value &value);
Napi::Value create_flag(const Napi::CallbackInfo &info);
Napi::Value raise_flag(const Napi::CallbackInfo &info);

/// The backend of that name; throws otherwise.
const kvfold_backend *backend_argument(const Napi::Value &value);

}  // namespace addon
}  // namespace kvfold

#endif

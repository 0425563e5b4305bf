// A fold, or a rope shift, as a transaction: prepare, commit, rollback off the event loop, dispose on it. Which step may
// follow which is decided on the event loop alone, so it needs no lock.
#include "addon/fold_worker.h"

#include <utility>

#include "addon/arguments.h"
#include "addon/memory.h"
#include "addon/plan.h"
#include "addon/promise_worker.h"
#include "common/error.h"
#include "kvfold/backend.h"

namespace kvfold {
namespace addon {
namespace {

const napi_type_tag kFoldTag = {0x6b76666f6c643031ull, 0x7472616e73000001ull};

enum class Stage { prepared, committed, half_committed, rolled_back, disposed };

/// What a transaction owns. The last owner is a handle or a worker, both of which go on the event loop.
struct FoldState {
  Napi::ObjectReference memory_external;  // keeps the cache's buffers alive
  const kvfold_memory *memory = nullptr;
  TargetStorage target;
  PlanStorage plan;
  ShiftStorage shift;  // instead of the two, of a rope shift
  const kvfold_backend *backend = nullptr;
  kvfold_fold *fold = nullptr;
  Stage stage = Stage::prepared;
  bool busy = false;

  ~FoldState() {
    if (fold != nullptr) backend->fold_free(fold);
  }
};
using FoldHandle = std::shared_ptr<FoldState>;

/// Giving many pages back takes time, so a thread of the pool does it.
Napi::Value free_later(Napi::Env env, const FoldHandle &state) {
  // freed even if the work never runs, because the environment ends
  std::shared_ptr<kvfold_fold> held(std::exchange(state->fold, nullptr), [state](kvfold_fold *fold) {
    if (fold != nullptr) state->backend->fold_free(fold);
  });
  return PromiseWorker::start(
      env,
      [held = std::move(held)](kvfold_error *) mutable {
        held.reset();
        return KVFOLD_OK;
      },
      [](Napi::Env settled, kvfold_status) { return settled.Undefined(); });
}

Napi::Value wrap(Napi::Env env, FoldHandle state) {
  auto held = std::make_unique<FoldHandle>(std::move(state));
  const auto external =
      Napi::External<FoldHandle>::New(env, held.get(), [](Napi::Env, FoldHandle *handle) { delete handle; });
  held.release();
  external.TypeTag(&kFoldTag);
  return external;
}

FoldHandle handle_argument(const Napi::Value &value) {
  if (!value.IsExternal() || !value.As<Napi::External<FoldHandle>>().CheckTypeTag(&kFoldTag))
    throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT, "this is not a fold of kvfold");
  return *value.As<Napi::External<FoldHandle>>().Data();
}

/// A fold whose next step may start; the cache is looked at again, because time has passed.
FoldHandle idle_fold(const Napi::CallbackInfo &info) {
  FoldHandle state = handle_argument(info[0]);
  if (state->stage == Stage::disposed)
    throw_error(info.Env(), KVFOLD_STATUS_DISPOSED, "the fold was already disposed");
  if (state->busy) throw_error(info.Env(), KVFOLD_STATUS_NATIVE, "a step of this fold is still running");
  kvfold_error error{};
  throw_unless_ok(info.Env(), kvfold_check_memory(state->memory, &error), error);
  return state;
}

uint32_t threads_argument(const Napi::Value &value) {
  const uint64_t threads = integer_argument(value, "threads", KVFOLD_MAX_THREADS);
  if (threads == 0) throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT, "threads must be at least 1");
  return static_cast<uint32_t>(threads);
}

/// Marks the fold busy until the worker settles, then moves it to the stage that the outcome calls for.
Napi::Value run_step(Napi::Env env, const FoldHandle &state, Stage on_success, Stage on_failure,
                     const std::shared_ptr<kvfold_faults> &faults, PromiseWorker::Work work) {
  state->busy = true;
  return PromiseWorker::start(env, std::move(work), [=](Napi::Env settled, kvfold_status status) {
    state->busy = false;
    if (state->stage == Stage::disposed) free_later(settled, state);
    else state->stage = status == KVFOLD_OK ? on_success : on_failure;
    return Napi::Number::New(settled, static_cast<double>(faults->points));
  });
}

/// Adds { fits, heldBytes, workingBytes }.
void report_fold(const FoldState &state, Napi::Object *result) {
  const Napi::Env env = result->Env();
  kvfold_fold_report report{};
  if (state.backend->fold_report != nullptr) report = state.backend->fold_report(state.fold);
  Napi::Array fits = Napi::Array::New(env, report.fit_count);
  for (uint32_t i = 0; i < report.fit_count; i++) {
    const kvfold_fit_outcome &fit = report.fits[i];
    Napi::Object outcome = Napi::Object::New(env);
    outcome.Set("layer", fit.layer);
    outcome.Set("head", fit.head);
    outcome.Set("before", fit.before);
    outcome.Set("after", fit.after);
    outcome.Set("accepted", Napi::Boolean::New(env, fit.accepted != 0));
    fits.Set(i, outcome);
  }
  result->Set("fits", fits);
  result->Set("heldBytes", static_cast<double>(report.held_bytes));
  result->Set("workingBytes", static_cast<double>(report.working_bytes));
}

kvfold_status check_and_prepare(FoldState *state, const kvfold_options *options, kvfold_error *error) {
  if (kvfold_status status = kvfold_check_options(options, error)) return status;
  if (kvfold_status status = kvfold_check_target(&state->target.target, error)) return status;
  if (kvfold_status status = kvfold_check_plan(&state->target.target, &state->plan.plan, error)) return status;
  if (state->plan.plan.fit != nullptr && state->backend->attend == nullptr)
    return fail(error, KVFOLD_STATUS_UNSUPPORTED, "%s cannot solve for values", state->backend->name);
  return state->backend->fold_prepare(&state->target.target, &state->plan.plan, options, &state->fold, error);
}

/// What `prepare` and `prepareShift` resolve to.
Napi::Value prepared(Napi::Env env, kvfold_status status, const FoldHandle &state, const kvfold_faults &faults) {
  if (status != KVFOLD_OK) return env.Undefined();
  Napi::Object result = Napi::Object::New(env);
  result.Set("fold", wrap(env, state));
  result.Set("points", static_cast<double>(faults.points));
  report_fold(*state, &result);
  return result;
}

}  // namespace

/// prepare({ memory, backend, threads, flag, failAt, memoryLimit, plan, slots, positions, sources, destinations, bias,
///           queries, outputs }) -> Promise<{ fold, points, fits, heldBytes, workingBytes }>
Napi::Value prepare(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  const Napi::Object request = object_argument(info[0], "request");
  auto state = std::make_shared<FoldState>();
  state->memory = memory_argument(request.Get("memory"));
  state->memory_external = Napi::Persistent(request.Get("memory").As<Napi::Object>());
  state->backend = backend_argument(request.Get("backend"));
  state->plan.read(object_argument(request.Get("plan"), "plan"));
  state->target.read(request, state->memory, state->plan.plan.key_frame == KVFOLD_FRAME_TARGET);
  if (state->plan.plan.fit != nullptr) state->target.read_fit(request);
  const uint32_t threads = threads_argument(request.Get("threads"));
  const uint64_t limit = limit_argument(request.Get("memoryLimit"));
  const AbortFlag flag = flag_argument_or_none(request.Get("flag"));
  auto faults = std::make_shared<kvfold_faults>(kvfold_faults{fault_argument(request.Get("failAt")), 0});
  return PromiseWorker::start(
      env,
      [=](kvfold_error *error) {
        const kvfold_options options = {threads, is_raised, flag.get(), faults.get(), limit};
        return check_and_prepare(state.get(), &options, error);
      },
      [=](Napi::Env settled, kvfold_status status) { return prepared(settled, status, state, *faults); });
}

/// prepareShift({ memory, backend, threads, flag, failAt, slots, deltas, layerDeltas })
///   -> Promise<{ fold, points, fits, heldBytes, workingBytes }>
Napi::Value prepare_shift(const Napi::CallbackInfo &info) {
  const Napi::Object request = object_argument(info[0], "request");
  auto state = std::make_shared<FoldState>();
  state->memory = memory_argument(request.Get("memory"));
  state->memory_external = Napi::Persistent(request.Get("memory").As<Napi::Object>());
  state->backend = backend_argument(request.Get("backend"));
  if (state->backend->rope_prepare == nullptr)
    throw_error(info.Env(), KVFOLD_STATUS_UNSUPPORTED, std::string(state->backend->name) + " cannot turn keys");
  state->shift.read(request, state->memory);
  const uint32_t threads = threads_argument(request.Get("threads"));
  const AbortFlag flag = flag_argument_or_none(request.Get("flag"));
  auto faults = std::make_shared<kvfold_faults>(kvfold_faults{fault_argument(request.Get("failAt")), 0});
  return PromiseWorker::start(
      info.Env(),
      [=](kvfold_error *error) {
        const kvfold_options options = {threads, is_raised, flag.get(), faults.get(), 0};
        if (kvfold_status status = kvfold_check_options(&options, error)) return status;
        if (kvfold_status status = kvfold_check_rope(&state->shift.rope, error)) return status;
        return state->backend->rope_prepare(&state->shift.rope, &options, &state->fold, error);
      },
      [=](Napi::Env settled, kvfold_status status) { return prepared(settled, status, state, *faults); });
}

/// commit(fold, threads, failAt) -> Promise<points>
Napi::Value commit(const Napi::CallbackInfo &info) {
  FoldHandle state = idle_fold(info);
  if (state->stage != Stage::prepared)
    throw_error(info.Env(), KVFOLD_STATUS_NATIVE, "a fold can be committed once; prepare it again");
  const uint32_t threads = threads_argument(info[1]);
  auto faults = std::make_shared<kvfold_faults>(kvfold_faults{fault_argument(info[2]), 0});
  return run_step(info.Env(), state, Stage::committed, Stage::half_committed, faults, [=](kvfold_error *error) {
    const kvfold_options options = {threads, nullptr, nullptr, faults.get(), 0};
    return state->backend->fold_commit(state->fold, &options, error);
  });
}

/// rollback(fold, threads) -> Promise<0>. May be called at every stage but the last; twice does nothing more.
Napi::Value rollback(const Napi::CallbackInfo &info) {
  FoldHandle state = idle_fold(info);
  const uint32_t threads = threads_argument(info[1]);
  const bool written = state->stage == Stage::committed || state->stage == Stage::half_committed;
  auto faults = std::make_shared<kvfold_faults>(kvfold_faults{-1, 0});
  return run_step(info.Env(), state, Stage::rolled_back, state->stage, faults, [=](kvfold_error *error) {
    const kvfold_options options = {threads, nullptr, nullptr, nullptr, 0};
    return written ? state->backend->fold_rollback(state->fold, &options, error) : KVFOLD_OK;
  });
}

/// dispose(fold) -> Promise<undefined>: frees scratch and undo log, after the running step if there is one.
Napi::Value dispose(const Napi::CallbackInfo &info) {
  FoldHandle state = handle_argument(info[0]);
  state->stage = Stage::disposed;
  if (!state->busy) return free_later(info.Env(), state);
  const auto deferred = Napi::Promise::Deferred::New(info.Env());
  deferred.Resolve(info.Env().Undefined());
  return deferred.Promise();
}

}  // namespace addon
}  // namespace kvfold

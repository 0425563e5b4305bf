// Between JavaScript and C++: checked arguments, tagged handles, errors with a code, and jobs off the event loop.
#pragma once

#include <napi.h>

#include <cmath>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abort_guard.h"
#include "failure.h"

namespace kvfold {

inline Napi::Error to_error(Napi::Env env, const Failure &failure) {
  Napi::Error error = Napi::Error::New(env, failure.what());
  error.Set("code", Napi::String::New(env, failure.code));
  error.Set("hint", Napi::String::New(env, failure.hint));
  return error;
}

// What an exception of any kind tells the caller.
inline Failure as_failure(const std::exception &error) {
  if (const auto *own = dynamic_cast<const Failure *>(&error)) return *own;
  if (dynamic_cast<const std::bad_alloc *>(&error) != nullptr)
    return Failure("KVFOLD_NATIVE", "out of memory", "use a smaller context or batch");
  return Failure("KVFOLD_NATIVE", error.what());
}

// A function as JavaScript calls it: every exception becomes an error with a code.
template <Napi::Value (*F)(const Napi::CallbackInfo &)>
Napi::Value guarded(const Napi::CallbackInfo &info) {
  const AbortGuard guard;
  try {
    return F(info);
  } catch (const Napi::Error &) {
    throw;
  } catch (const std::exception &error) {
    throw to_error(info.Env(), as_failure(error));
  }
}

// The type tag of the handles of T.
template <typename T>
struct Tag;

template <typename T>
Napi::Value wrap(Napi::Env env, std::shared_ptr<T> handle) {
  auto external = Napi::External<std::shared_ptr<T>>::New(
      env, new std::shared_ptr<T>(std::move(handle)), [](Napi::Env, std::shared_ptr<T> *held) { delete held; });
  const napi_type_tag tag = Tag<T>::value;
  external.TypeTag(&tag);
  return external;
}

template <typename T>
std::shared_ptr<T> unwrap(const Napi::Value &value) {
  const napi_type_tag tag = Tag<T>::value;
  if (!value.IsExternal() || !value.As<Napi::Object>().CheckTypeTag(&tag))
    throw Failure("KVFOLD_ARGUMENT", std::string("expected a handle of a ") + Tag<T>::name);
  return *value.As<Napi::External<std::shared_ptr<T>>>().Data();
}

inline int64_t integer_arg(const Napi::Value &value, const char *name, int64_t from, int64_t to) {
  if (!value.IsNumber()) throw Failure("KVFOLD_ARGUMENT", std::string(name) + " must be a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= static_cast<double>(from) && number <= static_cast<double>(to)) || number != std::floor(number))
    throw Failure("KVFOLD_ARGUMENT", std::string(name) + " must be a whole number from " + std::to_string(from) +
                                         " to " + std::to_string(to));
  return static_cast<int64_t>(number);
}

inline std::string string_arg(const Napi::Value &value, const char *name) {
  if (!value.IsString()) throw Failure("KVFOLD_ARGUMENT", std::string(name) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

template <typename T>
constexpr napi_typedarray_type array_type();
template <>
constexpr napi_typedarray_type array_type<uint8_t>() { return napi_uint8_array; }
template <>
constexpr napi_typedarray_type array_type<int32_t>() { return napi_int32_array; }
template <>
constexpr napi_typedarray_type array_type<uint32_t>() { return napi_uint32_array; }
template <>
constexpr napi_typedarray_type array_type<float>() { return napi_float32_array; }
template <>
constexpr napi_typedarray_type array_type<double>() { return napi_float64_array; }

template <typename T>
Napi::TypedArrayOf<T> typed_arg(const Napi::Value &value, const char *name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != array_type<T>())
    throw Failure("KVFOLD_ARGUMENT", std::string(name) + " must be a typed array of the right type");
  return value.As<Napi::TypedArrayOf<T>>();
}

// A copy of a typed array of exactly the element type T.
template <typename T>
std::vector<T> array_arg(const Napi::Value &value, const char *name) {
  const auto array = typed_arg<T>(value, name);
  const T *data = array.ElementLength() == 0 ? nullptr : array.Data();
  return std::vector<T>(data, data + array.ElementLength());
}

template <typename T>
Napi::Value to_array(Napi::Env env, const std::vector<T> &values) {
  auto array = Napi::TypedArrayOf<T>::New(env, values.size());
  if (!values.empty()) std::copy(values.begin(), values.end(), array.Data());
  return array;
}

// The same without a copy: the array owns the numbers from now on, however many there are.
template <typename T>
Napi::Value take_array(Napi::Env env, std::vector<T> &&values) {
  if (values.empty()) return to_array<T>(env, values);
  auto held = std::make_unique<std::vector<T>>(std::move(values));
  const auto buffer = Napi::ArrayBuffer::New(
      env, held->data(), held->size() * sizeof(T), [](Napi::Env, void *, std::vector<T> *numbers) { delete numbers; },
      held.get());
  const size_t length = held.release()->size();
  return Napi::TypedArrayOf<T>::New(env, length, buffer, 0);
}

// A promise of what `run` computes off the event loop; `resolve` turns it into a value on it.
template <typename Result>
class Job : public Napi::AsyncWorker {
 public:
  using Run = std::function<Result()>;
  using Resolve = std::function<Napi::Value(Napi::Env, Result &)>;

  static Napi::Value start(Napi::Env env, Run run, Resolve resolve) {
    auto *job = new Job(env, std::move(run), std::move(resolve));
    const Napi::Promise promise = job->deferred_.Promise();
    job->Queue();
    return promise;
  }

 protected:
  void Execute() override {
    const AbortGuard guard;
    try {
      result_.emplace(run_());
    } catch (const std::exception &error) {
      failure_.emplace(as_failure(error));
    }
    run_ = nullptr;  // what the work held is free before the promise settles
    // a context that llama.cpp stopped in has taken note; what runs on this thread next is not concerned
    stopped_here();
  }
  void OnOK() override {
    const Napi::HandleScope scope(Env());
    if (failure_) return deferred_.Reject(to_error(Env(), *failure_).Value());
    try {
      deferred_.Resolve(resolve_(Env(), *result_));
    } catch (const Napi::Error &error) {
      deferred_.Reject(error.Value());
    } catch (const std::exception &error) {
      deferred_.Reject(to_error(Env(), as_failure(error)).Value());
    }
  }
  void OnError(const Napi::Error &error) override { deferred_.Reject(error.Value()); }

 private:
  Job(Napi::Env env, Run run, Resolve resolve)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        run_(std::move(run)),
        resolve_(std::move(resolve)) {}

  Napi::Promise::Deferred deferred_;
  Run run_;
  Resolve resolve_;
  std::optional<Result> result_;
  std::optional<Failure> failure_;
};

}  // namespace kvfold

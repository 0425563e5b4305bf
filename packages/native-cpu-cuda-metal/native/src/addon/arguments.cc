// Reading JavaScript arguments.
#include "addon/arguments.h"

#include <cmath>

#include "addon/errors.h"

namespace kvfold {
namespace addon {
namespace {

[[noreturn]] void refuse(const Napi::Value &value, const char *name, const char *wanted) {
  throw_error(value.Env(), KVFOLD_STATUS_ARGUMENT, std::string(name) + " must be " + wanted);
}

template <typename T>
struct ArrayType;
template <>
struct ArrayType<uint8_t> {
  static constexpr napi_typedarray_type type = napi_uint8_array;
  static constexpr const char *name = "a Uint8Array";
};
template <>
struct ArrayType<uint16_t> {
  static constexpr napi_typedarray_type type = napi_uint16_array;
  static constexpr const char *name = "a Uint16Array";
};
template <>
struct ArrayType<int32_t> {
  static constexpr napi_typedarray_type type = napi_int32_array;
  static constexpr const char *name = "an Int32Array";
};
template <>
struct ArrayType<uint32_t> {
  static constexpr napi_typedarray_type type = napi_uint32_array;
  static constexpr const char *name = "a Uint32Array";
};
template <>
struct ArrayType<float> {
  static constexpr napi_typedarray_type type = napi_float32_array;
  static constexpr const char *name = "a Float32Array";
};
template <>
struct ArrayType<double> {
  static constexpr napi_typedarray_type type = napi_float64_array;
  static constexpr const char *name = "a Float64Array";
};

}  // namespace

Napi::Object object_argument(const Napi::Value &value, const char *name) {
  if (!value.IsObject()) refuse(value, name, "an object");
  return value.As<Napi::Object>();
}

Napi::Array array_argument(const Napi::Value &value, const char *name) {
  if (!value.IsArray()) refuse(value, name, "an array");
  return value.As<Napi::Array>();
}

uint64_t integer_argument(const Napi::Value &value, const char *name, uint64_t most) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number > static_cast<double>(most) || number != std::floor(number))
    refuse(value, name, ("an integer from 0 to " + std::to_string(most)).c_str());
  return static_cast<uint64_t>(number);
}

double number_argument(const Napi::Value &value, const char *name) {
  if (!value.IsNumber()) refuse(value, name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

uint64_t limit_argument(const Napi::Value &value) {
  if (value.IsUndefined() || value.IsNull()) return 0;
  const uint64_t limit = integer_argument(value, "memoryLimit", uint64_t{1} << 52);
  if (limit == 0) refuse(value, "memoryLimit", "at least 1 byte");
  return limit;
}

bool flag_argument(const Napi::Value &value, const char *name) {
  if (!value.IsBoolean()) refuse(value, name, "true or false");
  return value.As<Napi::Boolean>().Value();
}

std::string string_argument(const Napi::Value &value, const char *name) {
  if (!value.IsString()) refuse(value, name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

int64_t fault_argument(const Napi::Value &value) {
  if (value.IsUndefined() || value.IsNull()) return -1;
  return static_cast<int64_t>(integer_argument(value, "failAt", uint64_t{1} << 52));
}

template <typename T>
std::vector<T> copy_array(const Napi::Value &value, const char *name, bool optional) {
  if (optional && (value.IsNull() || value.IsUndefined())) return {};
  if (!value.IsTypedArray()) refuse(value, name, ArrayType<T>::name);
  napi_typedarray_type type;
  size_t length = 0;
  void *data = nullptr;
  const napi_status status =
      napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr);
  if (status != napi_ok || type != ArrayType<T>::type) refuse(value, name, ArrayType<T>::name);
  const T *first = static_cast<const T *>(data);
  return length == 0 ? std::vector<T>() : std::vector<T>(first, first + length);
}

template std::vector<uint8_t> copy_array<uint8_t>(const Napi::Value &, const char *, bool);
template std::vector<uint16_t> copy_array<uint16_t>(const Napi::Value &, const char *, bool);
template std::vector<int32_t> copy_array<int32_t>(const Napi::Value &, const char *, bool);
template std::vector<uint32_t> copy_array<uint32_t>(const Napi::Value &, const char *, bool);
template std::vector<float> copy_array<float>(const Napi::Value &, const char *, bool);
template std::vector<double> copy_array<double>(const Napi::Value &, const char *, bool);

}  // namespace addon
}  // namespace kvfold

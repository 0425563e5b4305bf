// Devices that llama.cpp knows: loading the library of one, and telling them.
#include "ggml-backend.h"
#include "log_sink.h"
#include "model.h"

namespace kvfold {

namespace {

// loadDeviceLibrary(path): registers the devices of a backend library of the same build, for the whole process.
Napi::Value load_device_library(const Napi::CallbackInfo &info) {
  const std::string path = string_arg(info[0], "path");
  const size_t before = ggml_backend_dev_count();
  take_log_problems();
  if (ggml_backend_load(path.c_str()) == nullptr)
    throw Failure("KVFOLD_UNSUPPORTED", path + " cannot be loaded: " + take_log_problems(),
                  "a device library needs the driver of its device");
  return Napi::Number::New(info.Env(), static_cast<double>(ggml_backend_dev_count() - before));
}

const char *kind_of(ggml_backend_dev_t device) {
  switch (ggml_backend_dev_type(device)) {
    case GGML_BACKEND_DEVICE_TYPE_CPU: return "processor";
    case GGML_BACKEND_DEVICE_TYPE_GPU: return "gpu";
    case GGML_BACKEND_DEVICE_TYPE_IGPU: return "integrated gpu";
    default: return "accelerator";
  }
}

// devices(): [{name, description, kind, freeBytes, totalBytes}] of every device that is loaded.
Napi::Value devices(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  Napi::Array all = Napi::Array::New(env);
  for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(device, &free, &total);
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", ggml_backend_dev_name(device));
    object.Set("description", ggml_backend_dev_description(device));
    object.Set("kind", kind_of(device));
    object.Set("freeBytes", Napi::Number::New(env, static_cast<double>(free)));
    object.Set("totalBytes", Napi::Number::New(env, static_cast<double>(total)));
    all.Set(all.Length(), object);
  }
  return all;
}

}  // namespace

void register_devices(Napi::Env env, Napi::Object exports) {
  exports.Set("loadDeviceLibrary", Napi::Function::New(env, guarded<load_device_library>));
  exports.Set("devices", Napi::Function::New(env, guarded<devices>));
}

}  // namespace kvfold

// Loads shared libraries by path, so that the bridge finds them by name and needs no run path of its own.
#include <dlfcn.h>

#include <napi.h>

#include <string>

namespace {

// load(path): keeps the library for the life of the process. Local visibility: the bridge names what it links, and
// another copy of llama.cpp in the process must not be mixed with this one.
Napi::Value load(const Napi::CallbackInfo &info) {
  if (info.Length() != 1 || !info[0].IsString()) throw Napi::TypeError::New(info.Env(), "expected a path");
  const std::string path = info[0].As<Napi::String>();
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
    const char *why = dlerror();
    throw Napi::Error::New(info.Env(), why == nullptr ? "the library cannot be loaded" : why);
  }
  return info.Env().Undefined();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("load", Napi::Function::New(env, load, "load"));
  return exports;
}

}  // namespace

NODE_API_MODULE(kvfold_preload, init)

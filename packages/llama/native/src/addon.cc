// What the bridge exports to TypeScript (src/native/bridge.ts has the types); nothing else happens here.
#include "context.h"
#include "model.h"

namespace kvfold {

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  register_model(env, exports);
  register_tokens(env, exports);
  register_context(env, exports);
  register_decode(env, exports);
  register_cells(env, exports);
  register_memory(env, exports);
  register_state(env, exports);
  register_queries(env, exports);
  register_devices(env, exports);
  register_tensors(env, exports);
  register_device_fold(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(kvfold_llama, init)

}  // namespace kvfold

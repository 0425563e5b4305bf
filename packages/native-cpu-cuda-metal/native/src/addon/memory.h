// Cache memory at the border: Externals of type kvfold_memory, checked before use, and made from typed arrays.
#ifndef KVFOLD_ADDON_MEMORY_H
#define KVFOLD_ADDON_MEMORY_H

#include <napi.h>

#include <vector>

#include "kvfold/memory.h"

namespace kvfold {
namespace addon {

/// The memory behind a tagged External, checked; throws otherwise. The caller keeps the External alive.
const kvfold_memory *memory_argument(const Napi::Value &value);

/// Layer shapes as plain objects, without buffers.
struct Layers {
  std::vector<kvfold_memory_layer> layers;
  std::vector<std::vector<double>> frequencies;
};
Layers layers_argument(const Napi::Value &value);

Napi::Value create_memory(const Napi::CallbackInfo &info);
Napi::Value release_memory(const Napi::CallbackInfo &info);
Napi::Value describe_memory(const Napi::CallbackInfo &info);

}  // namespace addon
}  // namespace kvfold

#endif

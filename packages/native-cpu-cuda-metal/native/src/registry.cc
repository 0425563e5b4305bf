// Which backends exist: those of this build, and CUDA where it was found at run time. The whole dispatch table.
#include <cstring>

#include "cpu/fold.h"
#include "kvfold/backend.h"
#include "loader.h"
#include "reference/fold.h"
#if defined(KVFOLD_METAL)
#include "metal/fold.h"
#endif

static const kvfold_backend *const kBackends[] = {
    &kvfold::cpu::kBackend,
    &kvfold::reference::kBackend,
#if defined(KVFOLD_METAL)
    &kvfold::metal::kBackend,
#endif
};

extern "C" const kvfold_backend *kvfold_backend_at(size_t index) {
  constexpr size_t kCount = sizeof kBackends / sizeof kBackends[0];
  if (index < kCount) return kBackends[index];
  return index == kCount ? kvfold::cuda_library().backend : nullptr;
}

extern "C" const kvfold_backend *kvfold_backend_named(const char *name) {
  for (size_t i = 0; const kvfold_backend *backend = kvfold_backend_at(i); i++) {
    if (std::strcmp(backend->name, name) == 0) return backend;
  }
  return nullptr;
}

extern "C" const char *kvfold_cuda_state(void) { return kvfold::cuda_library().state; }

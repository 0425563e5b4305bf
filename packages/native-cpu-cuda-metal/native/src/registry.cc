// Which backends exist in this build; the whole dispatch table.
#include <cstring>

#include "cpu/fold.h"
#include "kvfold/backend.h"
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
  return index < sizeof kBackends / sizeof kBackends[0] ? kBackends[index] : nullptr;
}

extern "C" const kvfold_backend *kvfold_backend_named(const char *name) {
  for (const kvfold_backend *backend : kBackends) {
    if (std::strcmp(backend->name, name) == 0) return backend;
  }
  return nullptr;
}

// The backends of the emulation's tests.
#include <cstring>

#include "kvfold/backend.h"
#include "metal/fold.h"
#include "reference/fold.h"

static const kvfold_backend *const kBackends[] = {&kvfold::metal::kBackend, &kvfold::reference::kBackend};

extern "C" const kvfold_backend *kvfold_backend_at(size_t index) {
  return index < sizeof kBackends / sizeof kBackends[0] ? kBackends[index] : nullptr;
}

extern "C" const kvfold_backend *kvfold_backend_named(const char *name) {
  for (const kvfold_backend *backend : kBackends) {
    if (std::strcmp(backend->name, name) == 0) return backend;
  }
  return nullptr;
}

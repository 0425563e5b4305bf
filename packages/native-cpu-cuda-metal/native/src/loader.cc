// Finds, loads and checks the CUDA backend. A library stays loaded until the process ends.
#include "loader.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>

#if defined(__unix__) && !defined(__APPLE__)
#include <dlfcn.h>
#define KVFOLD_HAS_DLOPEN 1
#endif

namespace kvfold {
namespace {

#if defined(KVFOLD_HAS_DLOPEN)

constexpr const char *kSymbol = "kvfold_cuda_backend";

std::string own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void *>(&own_folder), &info) == 0 || info.dli_fname == nullptr) return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

/// Everything that this build calls must be there: entries are appended, never moved.
bool is_complete(const kvfold_backend &table) {
  return table.abi == KVFOLD_BACKEND_ABI &&
         table.struct_bytes >= offsetof(kvfold_backend, device) + sizeof table.device && table.device != nullptr &&
         table.fold_prepare != nullptr && table.fold_commit != nullptr && table.fold_rollback != nullptr &&
         table.fold_free != nullptr && table.read_rows != nullptr;
}

/// "2 CUDA devices: NVIDIA ..., NVIDIA ..."; false, with the reason in the state, when there is none.
bool describe_devices(const kvfold_backend &table, CudaLibrary *library) {
  kvfold_error error{};
  uint32_t count = 0;
  if (table.device->count(&count, &error) != KVFOLD_OK || count == 0) {
    std::snprintf(library->state, sizeof library->state, "%s", error.message);
    return false;
  }
  std::string text = std::to_string(count) + (count == 1 ? " CUDA device" : " CUDA devices");
  for (uint32_t i = 0; i < count; i++) {
    char name[256] = "";
    if (table.device->describe(i, name, sizeof name, &error) != KVFOLD_OK)
      std::snprintf(name, sizeof name, "%s", error.message);
    text += (i == 0 ? ": " : "; ") + std::string(name);
  }
  std::snprintf(library->state, sizeof library->state, "%s", text.c_str());
  return true;
}

void load(CudaLibrary *library) {
  const char *chosen = std::getenv("KVFOLD_CUDA_PATH");
  const bool is_chosen = chosen != nullptr && chosen[0] != 0;
  const std::string path = is_chosen ? chosen : own_folder() + "/kvfold_cuda.so";
  const auto refuse = [&](const char *what, const char *why) {
    std::snprintf(library->state, sizeof library->state, what, path.c_str(), why == nullptr ? "unknown" : why);
  };
  // without a driver the library would only say so itself
  if (!is_chosen) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver == nullptr) {
      std::snprintf(library->state, sizeof library->state, "no CUDA device: there is no NVIDIA driver (libcuda.so.1)");
      return;
    }
    dlclose(driver);
  }
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return refuse("%s cannot be loaded: %s", dlerror());
  void *symbol = dlsym(handle, kSymbol);
  if (symbol == nullptr) return refuse("%s is no backend of kvfold: it has no %s", kSymbol);
  const kvfold_backend *table = reinterpret_cast<const kvfold_backend *(*)()>(symbol)();
  if (table == nullptr || !is_complete(*table)) return refuse("%s was built for another version of kvfold%s", "");
  if (describe_devices(*table, library)) library->backend = table;
}

#else

void load(CudaLibrary *library) {
  std::snprintf(library->state, sizeof library->state, "no CUDA device: the backend is built for Linux only");
}

#endif

CudaLibrary found() {
  CudaLibrary library{};
  try {
    load(&library);
  } catch (...) {
    std::snprintf(library.state, sizeof library.state, "out of memory while looking for the CUDA backend");
  }
  return library;
}

}  // namespace

const CudaLibrary &cuda_library() {
  static const CudaLibrary library = found();
  return library;
}

}  // namespace kvfold

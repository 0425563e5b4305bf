// A case in the memory of a backend: where it is, for host backends; on its devices otherwise, guard bytes and all.
#ifndef KVFOLD_TESTS_PLACED_H
#define KVFOLD_TESTS_PLACED_H

#include "cases.h"

namespace cases {

/// Points the layers of a case at the backend's memory while it lives. Layers are spread over all devices.
class Placed {
 public:
  Placed(const Case &one, const kvfold_backend *backend);
  ~Placed();
  Placed(const Placed &) = delete;

  /// Brings what the backend has written back into the buffers of the case.
  void fetch();

 private:
  struct Copy {
    uint32_t device;
    void *memory;
  };
  Case &one_;
  const kvfold_device_memory *device_;
  std::vector<Copy> copies_;  // one for each buffer of the case
};

}  // namespace cases

#endif

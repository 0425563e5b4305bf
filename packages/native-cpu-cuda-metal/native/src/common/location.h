// Where the buffers of a memory lie: a backend touches its own kind only.
#ifndef KVFOLD_COMMON_LOCATION_H
#define KVFOLD_COMMON_LOCATION_H

#include "common/error.h"

namespace kvfold {

inline const char *location_name(uint32_t location) {
  return location == KVFOLD_LOCATION_HOST ? "host memory" : location == KVFOLD_LOCATION_CUDA ? "CUDA memory" : "memory";
}

/// KVFOLD_STATUS_UNSUPPORTED unless every layer lies there.
inline kvfold_status require_location(const kvfold_memory &memory, uint32_t location, const char *backend,
                                      kvfold_error *error) {
  for (uint32_t l = 0; l < memory.layer_count; l++) {
    if (memory.layers[l].location == location) continue;
    return fail(error, KVFOLD_STATUS_UNSUPPORTED, "layer %u lies in %s, the backend %s works in %s", l,
                location_name(memory.layers[l].location), backend, location_name(location));
  }
  return KVFOLD_OK;
}

}  // namespace kvfold

#endif

// What the tests of the emulation share.
#ifndef KVFOLD_METAL_EMULATION_EMULATED_H
#define KVFOLD_METAL_EMULATION_EMULATED_H

#include "kvfold/backend.h"

namespace emulated {

inline const kvfold_options kPlain{1, nullptr, nullptr, nullptr, 0};

inline const kvfold_backend *metal() { return kvfold_backend_named("metal-emulated"); }
inline const kvfold_backend *reference() { return kvfold_backend_named("reference"); }

}  // namespace emulated

#endif

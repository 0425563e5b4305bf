// Asks for a cache line that will be read soon. Internal linkage: files with compiler flags of their own include this.
#ifndef KVFOLD_COMMON_PREFETCH_H
#define KVFOLD_COMMON_PREFETCH_H

#include <stdint.h>

namespace kvfold {

enum class Nearness { second_cache = 2, first_cache = 3 };

template <Nearness kTo = Nearness::first_cache>
static inline void prefetch(const uint8_t *at) {
#if defined(__GNUC__)
  __builtin_prefetch(at, 0, static_cast<int>(kTo));
  __asm__ volatile("");  // GCC 12 drops loops that do nothing but prefetch
#else
  static_cast<void>(at);
#endif
}

}  // namespace kvfold

#endif

// The first touch of huge pages, before several threads write to them: two threads that reach a new huge page at once
// both clear one, and the page of one of them is thrown away.
#ifndef KVFOLD_CPU_TOUCH_H
#define KVFOLD_CPU_TOUCH_H

#include "common/pages.h"
#include "cpu/pool.h"

namespace kvfold {
namespace cpu {

inline void touch_pages(uint32_t threads, Pages *pages) {
  parallel_for(threads, pages->huge_pages(), [&](size_t page, uint32_t) { pages->touch(page); });
}

}  // namespace cpu
}  // namespace kvfold

#endif

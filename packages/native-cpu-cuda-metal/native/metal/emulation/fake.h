// The fake device as tests see it: what is alive, and what shall go wrong.
#ifndef KVFOLD_METAL_EMULATION_FAKE_H
#define KVFOLD_METAL_EMULATION_FAKE_H

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace fake {

/// Objects that have not been released.
struct Alive {
  std::atomic<int64_t> objects{0};  // of every class
  std::atomic<int64_t> buffers{0}, commands{0}, encoders{0}, pipelines{0};
};
extern Alive alive;

struct Counts {
  std::atomic<int64_t> wrapped{0}, refused{0};  // ranges without a copy: taken, and not (every third, and by order)
  std::atomic<int64_t> submissions{0};
  std::atomic<int64_t> mistakes{0};             // broken rules of Metal, printed as they happen
};
extern Counts counts;

struct Orders {
  std::atomic<int64_t> refuse_every{3};              // of ranges without a copy; 1: all of them
  std::atomic<int64_t> submissions_left{INT64_MAX};  // then command buffers end in an error
  std::atomic<int64_t> buffers_left{INT64_MAX};      // then there is no memory
};
extern Orders orders;

/// One thread of a kernel: buffers[i] is what is bound at index i.
using Kernel = void (*)(void *const *buffers, uint32_t id);
/// NULL when there is none of that name. `buffers`: how many it binds.
Kernel kernel_named(const char *name, size_t *buffers);
/// Whether a text defines a kernel of that name.
bool defines_kernel(const char *text, const char *name);

}  // namespace fake

#endif

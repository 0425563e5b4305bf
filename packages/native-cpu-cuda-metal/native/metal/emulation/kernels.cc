// The kernels as they stand, compiled as C++ through the shim in cpp/, and a table to call them by name.
#include <metal_stdlib>

#define __METAL_VERSION__ 240
#include "metal/layout.h"
#include "metal/types.metal"
#include "metal/rope.metal"
#include "metal/q8_sums.metal"
#include "metal/fold.metal"
#include "metal/copy.metal"
#include "metal/rows.metal"
#include "metal/score.metal"
#include "metal/attend.metal"
#include "metal/fit.metal"

#undef kernel
#undef device
#undef constant
#undef thread

#include <cstdio>
#include <cstring>
#include <utility>

#include "metal/emulation/fake.h"

namespace {

/// A kernel's argument from what is bound: pointers and references alike are addresses.
template <typename Argument>
struct Bound;
template <typename T>
struct Bound<T *> {
  static T *from(void *address) { return static_cast<T *>(address); }
};
template <typename T>
struct Bound<T &> {
  static T &from(void *address) { return *static_cast<T *>(address); }
};

template <size_t index, typename First, typename... Rest>
struct Nth : Nth<index - 1, Rest...> {};
template <typename First, typename... Rest>
struct Nth<0, First, Rest...> {
  using type = First;
};

template <auto function>
struct Caller;
/// The last parameter is the position of the thread; the others are bound at 0, 1, 2, ...
template <typename... Arguments, void (*function)(Arguments...)>
struct Caller<function> {
  static constexpr size_t kBuffers = sizeof...(Arguments) - 1;

  static void run(void *const *buffers, uint32_t id) { spread(buffers, id, std::make_index_sequence<kBuffers>()); }

 private:
  template <size_t... index>
  static void spread(void *const *buffers, uint32_t id, std::index_sequence<index...>) {
    function(Bound<typename Nth<index, Arguments...>::type>::from(buffers[index])..., id);
  }
};

struct Entry {
  const char *name;
  fake::Kernel run;
  size_t buffers;
};

#define KERNEL(name) {#name, Caller<name>::run, Caller<name>::kBuffers}
const Entry kEntries[] = {
    KERNEL(rotate_rows),      KERNEL(hadamard_rows),   KERNEL(load_queries),     KERNEL(compute_rows),
    KERNEL(compute_lanes),    KERNEL(combine_turned),  KERNEL(save_rows_16),     KERNEL(save_rows_4),
    KERNEL(save_rows_2),      KERNEL(save_lanes_4),    KERNEL(save_lanes_2),     KERNEL(write_rows_16),
    KERNEL(write_rows_4),     KERNEL(write_rows_2),    KERNEL(write_lanes_4),    KERNEL(write_lanes_2),
    KERNEL(decode_rows),      KERNEL(encode_rows),     KERNEL(norm_rows),        KERNEL(sum_directions),
    KERNEL(compare_rows),     KERNEL(largest_bits),    KERNEL(turn_block),       KERNEL(score_tiles),
    KERNEL(softmax_segments), KERNEL(softmax_rows),    KERNEL(join_statistics),  KERNEL(output_tiles),
    KERNEL(join_outputs),     KERNEL(gather_weights),  KERNEL(multiply_columns), KERNEL(factor_diagonal),
    KERNEL(solve_rows),       KERNEL(update_tiles),    KERNEL(solve_back),       KERNEL(update_back),
    KERNEL(subtract_answer),  KERNEL(save_slices_16),  KERNEL(save_slices_4),    KERNEL(save_slices_2),
    KERNEL(write_slices_16),  KERNEL(write_slices_4),  KERNEL(write_slices_2),
};
#undef KERNEL

}  // namespace

fake::Kernel fake::kernel_named(const char *name, size_t *buffers) {
  for (const Entry &entry : kEntries) {
    if (std::strcmp(entry.name, name) != 0) continue;
    *buffers = entry.buffers;
    return entry.run;
  }
  return nullptr;
}

bool fake::defines_kernel(const char *text, const char *name) {
  char words[100];
  // the kernels of copy.metal are named in calls of macros
  for (const char *format : {"kernel void %s(", "(%s, ", " %s, "}) {
    std::snprintf(words, sizeof words, format, name);
    if (std::strstr(text, words) != nullptr) return true;
  }
  return false;
}

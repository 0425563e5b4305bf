// Scratch memory: a layout that is added up with checked arithmetic, then one allocation. What a memory query reports
// and what a run allocates are the same layout.
#ifndef KVFOLD_ATTENTION_ARENA_H
#define KVFOLD_ATTENTION_ARENA_H

#include <cstddef>
#include <cstdint>

namespace kvfold {
namespace attention {

/// a * b, or false when it does not fit.
bool multiply_fits(uint64_t a, uint64_t b, uint64_t *product);

/// `value` rounded up to a multiple of `unit`.
constexpr size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

class Layout {
 public:
  /// Room for `count` floats, 64-byte aligned; the offset in floats.
  size_t floats(uint64_t count) { return floats(count, 1); }
  size_t floats(uint64_t rows, uint64_t columns);
  /// False once a sum or product did not fit the address space.
  bool fits() const { return fits_; }
  uint64_t bytes() const { return bytes_; }

 private:
  uint64_t bytes_ = 0;
  bool fits_ = true;
};

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;

  /// False when there is no memory.
  bool allocate(const Layout &layout);
  float *at(size_t offset) const { return base_ + offset; }

 private:
  void *memory_ = nullptr;
  float *base_ = nullptr;
};

}  // namespace attention
}  // namespace kvfold

#endif

// Scratch memory with checked sizes.
#include "arena.h"

#include <cstdlib>

namespace kvfold {
namespace attention {
namespace {

constexpr uint64_t kAlign = 64;  // a cache line, an AVX-512 register
/// Half the address space: no pointer difference overflows.
constexpr uint64_t kMost = SIZE_MAX / 2;

}  // namespace

bool multiply_fits(uint64_t a, uint64_t b, uint64_t *product) {
  if (b != 0 && a > UINT64_MAX / b) return false;
  *product = a * b;
  return true;
}

size_t Layout::floats(uint64_t rows, uint64_t columns) {
  const uint64_t offset = bytes_;
  uint64_t bytes = 0;
  fits_ = fits_ && multiply_fits(rows, columns, &bytes) && multiply_fits(bytes, sizeof(float), &bytes) &&
          bytes <= kMost - kAlign - bytes_;
  if (!fits_) return 0;
  bytes_ += (bytes + kAlign - 1) / kAlign * kAlign;
  if (bytes_ > kMost - 2 * kAlign) fits_ = false;
  return static_cast<size_t>(offset / sizeof(float));
}

Arena::~Arena() { std::free(memory_); }

bool Arena::allocate(const Layout &layout) {
  if (!layout.fits()) return false;
  memory_ = std::malloc(static_cast<size_t>(layout.bytes() + kAlign));
  if (memory_ == nullptr) return false;
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory_);
  base_ = reinterpret_cast<float *>((address + kAlign - 1) / kAlign * kAlign);
  return true;
}

}  // namespace attention
}  // namespace kvfold

// Large memory that is only paid for where it is touched: an undo log, scratch rows. Huge pages where Linux has them:
// a page fault for every 4 KiB costs as much as the copy itself.
#ifndef KVFOLD_COMMON_PAGES_H
#define KVFOLD_COMMON_PAGES_H

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

namespace kvfold {

class Pages {
 public:
  Pages() = default;
  Pages(const Pages &) = delete;
  Pages &operator=(const Pages &) = delete;
  ~Pages() { free(); }

  /// Not cleared. False when there is no memory; the old content is gone either way.
  bool allocate(size_t bytes) {
    free();
    const size_t alignment = bytes >= 4 * kHuge ? kHuge : 64;
    if (bytes > PTRDIFF_MAX - alignment) return false;
    const size_t whole = bytes == 0 ? alignment : (bytes + alignment - 1) / alignment * alignment;
#if defined(_WIN32)
    data_ = static_cast<uint8_t *>(_aligned_malloc(whole, alignment));
#else
    void *memory = nullptr;
    if (posix_memalign(&memory, alignment, whole) != 0) return false;
    data_ = static_cast<uint8_t *>(memory);
#endif
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (data_ != nullptr && alignment == kHuge && madvise(data_, whole, MADV_HUGEPAGE) == 0) huge_ = whole / kHuge;
#endif
    return data_ != nullptr;
  }
  void free() {
#if defined(_WIN32)
    _aligned_free(data_);
#else
    std::free(data_);
#endif
    data_ = nullptr;
    huge_ = 0;
  }
  /// 0 where pages are small.
  size_t huge_pages() const { return huge_; }
  /// Overwrites its first byte.
  void touch(size_t huge_page) { *const_cast<volatile uint8_t *>(data_ + huge_page * kHuge) = 0; }

  uint8_t *data() { return data_; }
  const uint8_t *data() const { return data_; }

 private:
  static constexpr size_t kHuge = size_t{2} << 20;
  uint8_t *data_ = nullptr;
  size_t huge_ = 0;
};

}  // namespace kvfold

#endif

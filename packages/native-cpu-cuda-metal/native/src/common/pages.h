// Large memory that is only paid for where it is touched: an undo log, scratch rows. Huge pages where Linux has them:
// a page fault for every 4 KiB costs as much as the copy itself. One modest block is kept for the next who asks: to get
// one from the system takes a tenth of a short fold, and all its pages would be cleared again.
#ifndef KVFOLD_COMMON_PAGES_H
#define KVFOLD_COMMON_PAGES_H

#include <atomic>
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
    const bool large = bytes >= 2 * kHuge;
    const size_t alignment = large ? kHuge : 64;
    if (bytes > PTRDIFF_MAX - alignment) return false;
    const size_t whole = bytes == 0 ? alignment : (bytes + alignment - 1) / alignment * alignment;
    kept_size_ = large && whole <= kKept;
    if (kept_size_) data_ = spare().exchange(nullptr);
    if (data_ == nullptr) data_ = from_system(kept_size_ ? kKept : whole, alignment);
    huge_ = large && data_ != nullptr && kHasHuge ? whole / kHuge : 0;
    return data_ != nullptr;
  }
  void free() {
    uint8_t *none = nullptr;
    if (data_ != nullptr && !(kept_size_ && spare().compare_exchange_strong(none, data_))) to_system(data_);
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
  /// Of the block that is kept. Whoever asks for less and for huge pages reserves as much, so that one fits all.
  static constexpr size_t kKept = size_t{16} << 20;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  static constexpr bool kHasHuge = true;
#else
  static constexpr bool kHasHuge = false;
#endif

  static std::atomic<uint8_t *> &spare() {
    static std::atomic<uint8_t *> block{nullptr};
    return block;
  }
  static uint8_t *from_system(size_t bytes, size_t alignment) {
#if defined(_WIN32)
    return static_cast<uint8_t *>(_aligned_malloc(bytes, alignment));
#else
    void *memory = nullptr;
    if (posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (alignment == kHuge) static_cast<void>(madvise(memory, bytes, MADV_HUGEPAGE));  // only a wish
#endif
    return static_cast<uint8_t *>(memory);
#endif
  }
  static void to_system(uint8_t *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    std::free(memory);
#endif
  }

  uint8_t *data_ = nullptr;
  size_t huge_ = 0;
  bool kept_size_ = false;
};

}  // namespace kvfold

#endif

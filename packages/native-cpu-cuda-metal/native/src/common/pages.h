// Large memory that is only paid for where it is touched: an undo log, scratch rows. Huge pages where Linux has them:
// a page fault for every 4 KiB costs as much as the copy itself.
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
  /// kReused: for one large piece at a time that is allocated again and again. A block of a modest size is then kept for
  /// the next who asks: to get one from the system takes a tenth of a short fold, and all its pages would be cleared again.
  enum class Use { kOnce, kReused };

  explicit Pages(Use use = Use::kOnce) : use_(use) {}
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
    kept_size_ = large && whole <= kKept && use_ == Use::kReused && kKeeps;
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
  /// Of the block that is kept; all that may be kept are as large.
  static constexpr size_t kKept = size_t{16} << 20;
  /// AddressSanitizer sees nothing in a block that is used again.
#if defined(__SANITIZE_ADDRESS__)
  static constexpr bool kKeeps = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
  static constexpr bool kKeeps = false;
#else
  static constexpr bool kKeeps = true;
#endif
#else
  static constexpr bool kKeeps = true;
#endif
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  static constexpr bool kHasHuge = true;
  static void wish_for_huge(void *memory, size_t bytes) { static_cast<void>(madvise(memory, bytes, MADV_HUGEPAGE)); }
#else
  static constexpr bool kHasHuge = false;
  static void wish_for_huge(void *, size_t) {}
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
    if (alignment == kHuge) wish_for_huge(memory, bytes);
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

  const Use use_;
  uint8_t *data_ = nullptr;
  size_t huge_ = 0;
  bool kept_size_ = false;
};

}  // namespace kvfold

#endif

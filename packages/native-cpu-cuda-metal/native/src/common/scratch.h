// Memory that reports failure instead of throwing, and is not cleared (it is written before it is read).
#ifndef KVFOLD_COMMON_SCRATCH_H
#define KVFOLD_COMMON_SCRATCH_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace kvfold {

/// a * b, or false when it does not fit.
inline bool multiply(size_t a, size_t b, size_t *product) {
  if (b != 0 && a > SIZE_MAX / b) return false;
  *product = a * b;
  return true;
}

template <typename T>
class Scratch {
 public:
  /// False when there is no memory; the old content is gone either way.
  bool allocate(size_t count) {
    size_t bytes = 0;
    data_.reset();
    count_ = 0;
    if (!multiply(count, sizeof(T), &bytes)) return false;
    data_.reset(new (std::nothrow) T[count == 0 ? 1 : count]);
    if (!data_) return false;
    count_ = count;
    return true;
  }
  void free() {
    data_.reset();
    count_ = 0;
  }
  T *data() { return data_.get(); }
  const T *data() const { return data_.get(); }
  size_t size() const { return count_; }
  T &operator[](size_t index) { return data_[index]; }
  const T &operator[](size_t index) const { return data_[index]; }

 private:
  std::unique_ptr<T[]> data_;
  size_t count_ = 0;
};

}  // namespace kvfold

#endif

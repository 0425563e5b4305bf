// The bytes of a fuzzer's input, taken from the front; zeros once they have run out.
#ifndef KVFOLD_FUZZ_BYTES_H
#define KVFOLD_FUZZ_BYTES_H

#include <cstddef>
#include <cstdint>

namespace fuzz {

class Bytes {
 public:
  Bytes(const uint8_t *data, size_t size) : data_(data), left_(size) {}
  bool empty() const { return left_ == 0; }
  uint8_t u8() {
    if (left_ == 0) return 0;
    left_--;
    return *data_++;
  }
  uint32_t u32() {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) value |= uint32_t{u8()} << (8 * i);
    return value;
  }
  uint32_t below(uint32_t n) { return u8() % n; }
  bool coin() { return (u8() & 1) != 0; }

 private:
  const uint8_t *data_;
  size_t left_;
};

}  // namespace fuzz

#endif

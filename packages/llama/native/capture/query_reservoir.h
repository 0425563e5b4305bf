// Which positions of a prompt are kept as query samples: a seeded reservoir with a bound that no prompt length breaks.
#pragma once

#include <cstdint>
#include <vector>

namespace kvfold {

// Offers arrive in the order of the prompt. One position in `stride` is a candidate; the first `capacity` candidates
// fill the slots, candidate n after that replaces a random slot with probability capacity / (n + 1) (Vitter's
// algorithm R), so that at any moment every candidate seen so far is kept with the same probability.
// The draw is a hash of (seed, n), not a stream, so a prompt read in other batches keeps the same positions.
class QueryReservoir {
 public:
  QueryReservoir(uint32_t capacity, uint32_t stride, uint64_t seed)
      : capacity_(capacity), stride_(stride == 0 ? 1 : stride), seed_(seed) {}

  static constexpr uint32_t kSkip = UINT32_MAX;

  // Slot that `position` takes, or kSkip.
  uint32_t offer(int32_t position) {
    if (offered_++ % stride_ != 0 || capacity_ == 0) return kSkip;
    const uint64_t n = candidates_++;
    uint64_t slot = n;
    if (n >= capacity_) {
      slot = mix(seed_ + n) % (n + 1);
      if (slot >= capacity_) return kSkip;
      positions_[slot] = position;
    } else {
      positions_.push_back(position);
    }
    return static_cast<uint32_t>(slot);
  }

  // Position of each filled slot.
  const std::vector<int32_t> &positions() const { return positions_; }
  uint32_t capacity() const { return capacity_; }

 private:
  // splitmix64's finalizer: every input bit reaches every output bit
  static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  }

  uint32_t capacity_;
  uint32_t stride_;
  uint64_t seed_;
  uint64_t offered_ = 0;
  uint64_t candidates_ = 0;
  std::vector<int32_t> positions_;
};

}  // namespace kvfold

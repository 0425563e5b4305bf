// Which tokens of a sequence are kept as query samples: a uniform choice with a bound that no prompt length breaks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace kvfold {

// Offers arrive in the order of the tokens. One in `stride` is a candidate; candidate n has the priority hash(seed, n),
// and the `capacity` candidates of lowest priority are kept (bottom-k sampling, Cohen and Kaplan 2007).
//
//     candidates  0 1 2 3 4 5 6 ..      priorities  7 3 9 1 4 8 2 ..      capacity 3  ->  kept, by priority: 3 6 1
//
// So every candidate is kept with the same probability, any prefix in the order of priority is itself a uniform sample,
// and the choice depends on neither batches nor on how often the reading was interrupted.
class QueryReservoir {
 public:
  QueryReservoir(uint32_t capacity, uint32_t stride, uint64_t seed)
      : capacity_(capacity), stride_(stride == 0 ? 1 : stride), seed_(seed) {}

  static constexpr uint32_t kSkip = UINT32_MAX;

  struct Entry {
    int32_t position;
    uint64_t priority;
    uint64_t token;  // how many tokens were offered before
  };

  // Slot that `position` takes, or kSkip.
  uint32_t offer(int32_t position) {
    const uint64_t token = offered_++;
    if (token % stride_ != 0 || capacity_ == 0) return kSkip;
    const uint64_t priority = mix(seed_ + token / stride_);
    if (priority >= limit_) return kSkip;
    if (entries_.size() < capacity_) {
      entries_.push_back({position, priority, token});
      return push(static_cast<uint32_t>(entries_.size() - 1));
    }
    const auto [largest, slot] = heap_.front();
    limit_ = std::max(largest, priority);
    if (priority > largest) return kSkip;
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
    entries_[slot] = {position, priority, token};
    return push(slot);
  }

  // Takes the last offers back. What they had displaced is lost, so candidates above the limit stay out for good: the
  // sample is still every candidate below one limit, and therefore uniform.
  // @returns the slots that stay, in their order; they are renumbered from 0
  std::vector<uint32_t> take_back(uint64_t tokens) {
    offered_ -= std::min(tokens, offered_);
    if (offered_ == 0) limit_ = UINT64_MAX;  // nothing was displaced that is still wanted
    std::vector<uint32_t> kept;
    std::vector<Entry> entries;
    for (uint32_t slot = 0; slot < entries_.size(); slot++) {
      if (entries_[slot].token >= offered_) continue;
      kept.push_back(slot);
      entries.push_back(entries_[slot]);
    }
    entries_.swap(entries);
    heap_.clear();
    for (uint32_t slot = 0; slot < entries_.size(); slot++) push(slot);
    return kept;
  }

  // Slots by rising priority.
  std::vector<uint32_t> order() const {
    std::vector<uint32_t> slots(entries_.size());
    for (uint32_t slot = 0; slot < slots.size(); slot++) slots[slot] = slot;
    std::sort(slots.begin(), slots.end(),
              [&](uint32_t a, uint32_t b) { return entries_[a].priority < entries_[b].priority; });
    return slots;
  }

  const std::vector<Entry> &entries() const { return entries_; }
  uint32_t capacity() const { return capacity_; }

 private:
  uint32_t push(uint32_t slot) {
    heap_.emplace_back(entries_[slot].priority, slot);
    std::push_heap(heap_.begin(), heap_.end());
    return slot;
  }

  // splitmix64's finalizer: every input bit reaches every output bit, and no two inputs collide
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
  uint64_t limit_ = UINT64_MAX;  // candidates at or above it are out
  std::vector<Entry> entries_;
  std::vector<std::pair<uint64_t, uint32_t>> heap_;  // largest priority first
};

}  // namespace kvfold

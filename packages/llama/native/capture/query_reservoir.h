// Which tokens of a sequence are kept as query samples: the newest, and of the others a choice that favours later ones,
// with a bound that no prompt length breaks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace kvfold {

// Offers arrive in the order of the tokens. The `newest` last ones are kept; a token that is no longer one of them
// competes with the priority hash(seed, token) / (token + 1), and the `capacity - newest` of lowest priority are kept
// (priority sampling, Duffield, Lund and Thorup 2007, with the place as the weight).
//
//     tokens   0 1 2 3 4 5 6 7 8 9     capacity 5, newest 3  ->  kept  . . . 3 . 5 . 7 8 9
//     older    0 1 2 3 4 5 6            priorities  7 4 3 1 2 1 2  ->  the two lowest: 3 5
//
// What is read next asks most like what was read last, so the newest stand for it; of the others a token is kept with a
// probability in proportion to its place. A prefix of `order` is half of the very newest, half a fair part of the others,
// and the choice depends on neither batches nor on how often the reading was interrupted.
class QueryReservoir {
 public:
  QueryReservoir(uint32_t capacity, uint32_t newest, uint64_t seed)
      : capacity_(capacity), newest_(std::min(newest, capacity)), seed_(seed) {}

  static constexpr uint32_t kSkip = UINT32_MAX;

  struct Entry {
    int32_t position;
    uint64_t priority;
    uint64_t token;  // how many tokens were offered before
  };

  // Slot that `position` takes, or kSkip.
  uint32_t offer(int32_t position) {
    const uint64_t token = offered_++;
    if (capacity_ == 0) return kSkip;
    const Entry entry = {position, mix(seed_ + token) / (token + 1), token};
    if (newest_ == 0) return admit_new(entry);
    uint32_t slot = kSkip;
    if (queue_.size() == newest_) {
      slot = admit_old(queue_.front());
      queue_.pop_front();
    }
    slot = place(entry, slot);
    queue_.push_back(slot);
    return slot;
  }

  // Takes the last offers back. What they had displaced is lost, so tokens above the limit stay out for good: the
  // older ones are still every token below one limit, and therefore a fair choice.
  // @returns the slots that stay, in their order; they are renumbered from 0
  std::vector<uint32_t> take_back(uint64_t tokens) {
    offered_ -= std::min(tokens, offered_);
    if (offered_ == 0) limit_ = UINT64_MAX;  // nothing was displaced that is still wanted
    std::vector<uint32_t> kept, renumbered(entries_.size(), kSkip);
    std::vector<Entry> entries;
    for (uint32_t slot = 0; slot < entries_.size(); slot++) {
      if (entries_[slot].token >= offered_) continue;
      renumbered[slot] = static_cast<uint32_t>(kept.size());
      kept.push_back(slot);
      entries.push_back(entries_[slot]);
    }
    std::vector<bool> is_new(kept.size(), false);
    std::deque<uint32_t> queue;
    for (const uint32_t slot : queue_) {
      if (renumbered[slot] == kSkip) continue;
      queue.push_back(renumbered[slot]);
      is_new[renumbered[slot]] = true;
    }
    entries_.swap(entries);
    queue_.swap(queue);
    heap_.clear();
    for (uint32_t slot = 0; slot < entries_.size(); slot++)
      if (!is_new[slot]) push(slot);
    return kept;
  }

  // Slots by turns: the newest tokens, the last of them first, and the older ones in an order that has nothing to do with
  // their age, nor with the priority by which they were kept. What is left of one kind comes at the end.
  //
  //     tokens  3 5 | 7 8 9   ->   9 5 8 3 7
  std::vector<uint32_t> order() const {
    std::vector<bool> is_new(entries_.size(), false);
    for (const uint32_t slot : queue_) is_new[slot] = true;
    std::vector<uint32_t> older;
    for (uint32_t slot = 0; slot < entries_.size(); slot++)
      if (!is_new[slot]) older.push_back(slot);
    std::sort(older.begin(), older.end(),
              [&](uint32_t a, uint32_t b) { return mix(entries_[a].priority) < mix(entries_[b].priority); });
    std::vector<uint32_t> slots;
    auto next_new = queue_.rbegin();
    auto next_old = older.begin();
    while (slots.size() < entries_.size()) {
      if (next_new != queue_.rend()) slots.push_back(*next_new++);
      if (next_old != older.end()) slots.push_back(*next_old++);
    }
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

  // The entry takes the slot, or a new one after the last.
  uint32_t place(const Entry &entry, uint32_t slot) {
    if (slot == kSkip) {
      entries_.push_back(entry);
      return static_cast<uint32_t>(entries_.size() - 1);
    }
    entries_[slot] = entry;
    return slot;
  }

  // Which slot becomes free, if any, when an entry of this priority competes: that of the loser. `own`: its slot.
  uint32_t compete(uint64_t priority, uint32_t own) {
    if (priority >= limit_) return own;
    if (heap_.size() < capacity_ - newest_) return kSkip;
    if (heap_.empty()) return own;
    const auto [largest, slot] = heap_.front();
    limit_ = std::max(largest, priority);
    if (priority > largest) return own;
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
    return slot;
  }

  // A token that is no longer one of the newest: the slot that its going or staying sets free, or kSkip.
  uint32_t admit_old(uint32_t slot) {
    const uint32_t freed = compete(entries_[slot].priority, slot);
    if (freed != slot) push(slot);
    return freed;
  }

  // Without newest ones a token competes at once.
  uint32_t admit_new(const Entry &entry) {
    constexpr uint32_t kNone = kSkip - 1;
    const uint32_t freed = compete(entry.priority, kNone);
    return freed == kNone ? kSkip : push(place(entry, freed));
  }

  // splitmix64's finalizer: every input bit reaches every output bit, and no two inputs collide
  static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  }

  uint32_t capacity_;
  uint32_t newest_;
  uint64_t seed_;
  uint64_t offered_ = 0;
  uint64_t limit_ = UINT64_MAX;  // older tokens of this priority or a higher one are out
  std::vector<Entry> entries_;
  std::deque<uint32_t> queue_;                       // slots of the newest, the oldest of them first
  std::vector<std::pair<uint64_t, uint32_t>> heap_;  // slots of the others, largest priority first
};

}  // namespace kvfold

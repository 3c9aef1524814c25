// Speculations: which (block, endpoint) pairs were presumed and until when, in order of expiry; a ring of fixed size. A
// pair presumed again before it expired ends with its last presumption. Thread rule: one owner (the index locks it).
// Ownership: its memory, taken once. Cost: 28 bytes an entry; a few loads a call.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice::kvindex {

class Speculations {
 public:
  struct Pair {
    uint64_t key;
    uint16_t slot;
  };
  explicit Speculations(uint32_t entries_max) : ring_(entries_max), newest_(entries_max, 0) {}
  static size_t Bytes(uint32_t entries_max) { return size_t{entries_max} * (sizeof(Entry) + sizeof(uint32_t)); }

  bool Full() const { return end_ - begin_ == ring_.size(); }
  // Not when Full(). `due_ms` must not decrease, up to the wrap of its 32 bits.
  void Push(Pair pair, uint32_t due_ms) {
    uint32_t& newest = newest_[HashOf(pair)];
    ring_[end_ % ring_.size()] = {pair.key, newest, due_ms, pair.slot};
    newest = static_cast<uint32_t>(++end_);
  }
  // Takes the oldest entry when it is due or `even_so`. True when there was one; `last` says that the pair has no later
  // entry, so that its presumption ends now.
  bool Pop(uint32_t now_ms, bool even_so, Pair& pair, bool& last) {
    if (begin_ == end_) return false;
    const Entry& entry = ring_[begin_ % ring_.size()];
    if (!even_so && static_cast<int32_t>(now_ms - entry.due_ms) < 0) return false;
    pair = {entry.key, entry.slot};
    last = NewestOf(pair) == begin_;
    ++begin_;
    return true;
  }
  // Forgets the endpoint's entries, calling `each(key)`.
  template <class Each>
  void Drop(uint16_t slot, Each&& each) {
    for (uint64_t at = begin_; at != end_; ++at) {
      Entry& entry = ring_[at % ring_.size()];
      if (entry.slot != slot) continue;
      each(entry.key);
      entry.slot = kNoSlot;  // stays in the ring and ends as a pair that nobody holds
    }
  }
  static constexpr uint16_t kNoSlot = 0xffff;

 private:
  struct Entry {
    uint64_t key;
    uint32_t before;  // low bits of 1 + the position of the next older entry with this hash
    uint32_t due_ms;
    uint16_t slot;
  };
  size_t HashOf(Pair pair) const {
    return static_cast<size_t>((pair.key ^ uint64_t{pair.slot} << 48) * 0x9e3779b97f4a7c15 >> 32) % newest_.size();
  }
  // The position of the pair's newest entry; it has one that is at least as new as the oldest in the ring.
  uint64_t NewestOf(Pair pair) const {
    uint32_t link = newest_[HashOf(pair)];
    while (true) {
      // Positions in the ring lie within its size behind the end, so their low bits tell them apart.
      const uint64_t at = end_ - static_cast<uint32_t>(static_cast<uint32_t>(end_) - (link - 1));
      if (link == 0 || at < begin_ || at >= end_) return begin_;
      const Entry& entry = ring_[at % ring_.size()];
      if (entry.key == pair.key && entry.slot == pair.slot) return at;
      link = entry.before;
    }
  }

  std::vector<Entry> ring_;
  std::vector<uint32_t> newest_;
  uint64_t begin_ = 0, end_ = 0;
};

}  // namespace sluice::kvindex

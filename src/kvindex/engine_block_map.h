// EngineBlockMap: one endpoint's engine hashes and the block keys they stand for, so that a removal, which names only
// the hash, finds the key, and an event's parent the chain it continues. Open addressing, linear probing, deletion by
// shifting back; grows by an eighth at seven eighths full, out of the index's MemoryBudget. Without memory the least
// recently used of the first cells of the new hash's probe leaves, and its block leaves the index with it: what could
// not be removed later must not be claimed. So that a newcomer finds room beside the large, a map that is larger than
// its share grows only in the first 85 % of the budget. Thread rule: one owner. Ownership: its cells; the destructor
// gives them back. Cost: 16 bytes a cell, about 19 an entry; a cache line or two a call.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "kvindex/memory_budget.h"

namespace sluice::kvindex {

class EngineBlockMap {
 public:
  // `share`: bytes up to which the map may use the budget's last 15 %.
  EngineBlockMap(MemoryBudget& budget, size_t share) : budget_(budget), share_(share) {}
  ~EngineBlockMap() { Clear(); }
  EngineBlockMap(const EngineBlockMap&) = delete;
  EngineBlockMap& operator=(const EngineBlockMap&) = delete;

  std::optional<uint64_t> Find(uint64_t hash) const;
  // Sets the hash's key. Without memory: `age(key)` says how long ago an entry was used (greater leaves first), and
  // `evict(hash, key)` is called for the one that left. False when there is no memory for a single cell.
  template <class AgeOf, class Evict>
  bool Put(uint64_t hash, uint64_t key, AgeOf&& age, Evict&& evict) {
    hash = Real(hash);
    if (size_ == 0 || used_ >= size_ - size_ / 8) {
      if (const size_t at = IndexOf(hash); at != kNowhere) {
        cells_[at].key = key;
        return true;
      }
      if (!Grow()) {
        if (size_ == 0) return false;
        const size_t victim = Victim(hash, age);
        const Cell gone = cells_[victim];
        EraseAt(victim);
        evict(gone.hash, gone.key);
      }
    }
    Insert(hash, key);
    return true;
  }
  void Erase(uint64_t hash);
  void Prefetch(uint64_t hash) const {
    if (size_ > 0) __builtin_prefetch(&cells_[Home(Real(hash))], 1);
  }
  // Calls each(hash, key) for every entry.
  template <class Each>
  void ForEach(Each&& each) const {
    for (size_t i = 0; i < size_; ++i) {
      if (cells_[i].hash != 0) each(cells_[i].hash, cells_[i].key);
    }
  }
  // Empty, its memory given back.
  void Clear();
  size_t Entries() const { return used_; }
  size_t Bytes() const { return size_ * sizeof(Cell); }

 private:
  struct Cell {
    uint64_t hash = 0;  // 0: empty
    uint64_t key = 0;
  };
  static constexpr size_t kNowhere = ~size_t{0};
  static constexpr size_t kWindow = 8;
  // The hash 0 is kept under another name.
  static uint64_t Real(uint64_t hash) { return hash == 0 ? 0x5bd1e9955bd1e995 : hash; }
  // Hashes are digests' bits, but not everybody's: mixed once more.
  size_t Home(uint64_t hash) const {
    return static_cast<size_t>(static_cast<unsigned __int128>(hash * 0x9e3779b97f4a7c15) * size_ >> 64);
  }
  size_t After(size_t at) const { return at + 1 == size_ ? 0 : at + 1; }
  size_t IndexOf(uint64_t hash) const;
  void Insert(uint64_t hash, uint64_t key);
  void EraseAt(size_t at);
  bool Grow();
  template <class AgeOf>
  size_t Victim(uint64_t hash, AgeOf&& age) const {
    size_t at = Home(hash);
    size_t victim = kNowhere;
    uint64_t oldest = 0;
    for (size_t seen = 0; seen < kWindow || victim == kNowhere; ++seen, at = After(at)) {
      if (cells_[at].hash == 0) continue;
      const uint64_t this_age = age(cells_[at].key);
      if (victim != kNowhere && this_age <= oldest) continue;
      victim = at;
      oldest = this_age;
    }
    return victim;
  }

  MemoryBudget& budget_;
  const size_t share_;
  std::unique_ptr<Cell[]> cells_;
  size_t size_ = 0;
  size_t used_ = 0;
};

}  // namespace sluice::kvindex

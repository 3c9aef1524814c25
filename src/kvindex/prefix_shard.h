// Shard: one 64th of PrefixIndex, with everything that writes to it. Internal to the index. Thread rule: its methods
// are called with `mutex` held; readers (prefix_lookup.cc) only load the table, the directory and what hangs below.
#pragma once

#include <array>
#include <mutex>
#include <span>
#include <vector>

#include "kvindex/prefix_cells.h"
#include "kvindex/prefix_index.h"

namespace sluice::kvindex {

// What shards share.
struct ShardContext {
  MemoryBudget& budget;
  uint32_t row;  // 64-bit words that a bitset over all slots takes
  // Per slot: live holders.
  std::vector<std::atomic<uint32_t>> holders;
  std::atomic<uint64_t> evicted{0}, refused{0};

  // Epochs. A reader shows the epoch in which it began, 0 between lookups; what was replaced in epoch e is freed when
  // nobody shows e or less.
  struct alignas(64) Reader {
    std::atomic<uint64_t> epoch{0};
    std::atomic<bool> taken{false};
  };
  std::vector<Reader> readers;
  alignas(64) std::atomic<uint64_t> epoch{1};
  uint64_t OldestReader() const;

  // The shards' tables: side by side and away from what writers change, as readers load one of them for every block.
  alignas(64) std::array<std::atomic<cells::Table>, cells::kShards> tables{};

  // What is to be erased of every block, by slot: everything, or what own history says. A cell that moves is purged
  // first, so that none passes from before the walk's place (prefix_forget.cc) to behind it.
  std::vector<std::atomic<uint64_t>> leaving, history_void;  // bitsets
  std::atomic<uint32_t> purges{0};                           // bits in both
  uint8_t Void(uint32_t slot) const {
    const uint64_t bit = uint64_t{1} << slot % 64;
    if ((leaving[slot / 64].load() & bit) != 0) return 0xff;
    return (history_void[slot / 64].load() & bit) != 0 ? 1u << kHistory : 0;
  }

  ShardContext(MemoryBudget& b, uint32_t slots, uint32_t readers_max)
      : budget(b), row((slots + 63) / 64), holders(slots), readers(readers_max), leaving(row), history_void(row) {}
};

class alignas(64) Shard {
 public:
  static constexpr uint32_t kBucketsMin = 2;
  static constexpr size_t kBytesMin = kBucketsMin * sizeof(cells::Bucket);  // granted before it is opened
  cells::Directory records;
  alignas(64) std::mutex mutex;  // not on a line that readers load

  void Open(ShardContext& context, uint32_t number);
  ~Shard();

  PrefixIndex::Stored Add(uint32_t slot, Holding holding, uint64_t key, const cells::Hash& hash, uint32_t now);
  uint8_t Remove(uint32_t slot, uint8_t set, uint64_t key, const cells::Hash& hash);
  void Touch(uint32_t slot, uint64_t key, const cells::Hash& hash, uint32_t now);
  std::optional<uint32_t> AgeTicks(uint32_t slot, uint64_t key, const cells::Hash& hash, uint32_t now) const;
  // Erases what is void (ShardContext::Void) in so many buckets from `begin`; returns where to go on, 0 at the end.
  uint32_t Purge(uint32_t begin, uint32_t buckets);
  // Adds what each slot holds to its line; returns the cells that were looked at.
  size_t CountHoldings(std::vector<std::array<uint64_t, kHoldings>>& by_slot) const;
  void ClampAges(uint32_t now);
  void Reclaim();

 private:
  friend struct ShardProbe;  // of a test
  struct Cell {
    cells::Bucket* bucket = nullptr;
    int i = 0;
    std::atomic<cells::Word>& word() const { return bucket->word[i]; }
    explicit operator bool() const { return bucket != nullptr; }
  };
  // What the two buckets of a key say about it.
  struct Found {
    Cell record;
    Cell own;         // the slot's cell
    Cell others[10];  // other slots' cells
    int others_count = 0;
    Cell free;
  };
  struct Retired {
    uint64_t epoch;
    cells::Table table;
    cells::Record* record;  // null: a table
    int64_t number;         // of a record that can be given again; -1: none
  };

  Found Find(uint32_t slot, uint64_t key, const cells::Hash& hash) const;
  static void Put(Cell cell, uint64_t key, cells::Word word);
  bool Take(size_t bytes, size_t limit);
  Cell Room(cells::Table at, const cells::Hash& hash, int moves);
  static Cell FreeCell(cells::Table at, uint32_t bucket);
  Cell RoomByMoving(cells::Table at, std::span<const uint32_t> full, int moves);
  static uint32_t OtherBucket(cells::Table at, Cell resident, uint32_t from);
  bool Grow();
  bool Copy(cells::Table old, cells::Table grown);
  Cell MakeRoom(uint64_t key, const cells::Hash& hash, uint32_t now);
  void EvictCell(Cell cell);
  static uint32_t AgeOf(const Shard& shard, cells::Word word, uint32_t now);

  cells::Record& RecordOf(cells::Word word) const { return *records.At(word & ~cells::kRecordBit).load(); }
  cells::Record* Build(const std::vector<cells::Word>& holders);
  std::optional<uint32_t> NewNumber();
  PrefixIndex::Stored Promote(const Found& found, uint32_t slot, Holding holding, uint32_t now);
  PrefixIndex::Stored AddToRecord(Cell cell, uint32_t slot, Holding holding, uint32_t now);
  uint8_t RemoveFromRecord(Cell cell, uint32_t slot, uint8_t set);
  void PurgeCell(Cell cell);
  void PurgeSets(Cell cell);
  bool Rebuild(Cell cell, const std::vector<cells::Word>& holders);
  void Collect(cells::Record& record, std::vector<cells::Word>& out) const;
  void Fit(Cell cell);
  void Retire(cells::Table old_table, cells::Record* record, int64_t number);
  void Free(const Retired& retired);

  cells::Table Cells() const { return table_->load(std::memory_order_relaxed); }

  ShardContext* context_ = nullptr;
  std::atomic<cells::Table>* table_ = nullptr;  // the context's
  uint32_t live_ = 0;                           // cells in use
  std::vector<Retired> retired_;
};

}  // namespace sluice::kvindex

// Cells and tables of a shard: finding, adding, removing, growing, evicting. Records are in prefix_record.cc.
#include "kvindex/prefix_shard.h"

#include <sys/mman.h>

namespace sluice::kvindex {
namespace {

using cells::Bucket;
using cells::kCells;
using cells::Table;
using cells::Word;

constexpr int kInlineMax = 2;  // holders of a key in cells of their own; one more makes a record
constexpr int kMovesMax = 2;
constexpr size_t kRetiredMax = 16;  // records; then freeing is tried

constexpr size_t kHugePage = 2u << 20;

}  // namespace

namespace cells {

namespace {
std::align_val_t AlignmentOf(size_t bytes) { return std::align_val_t{bytes >= kHugePage ? kHugePage : 64}; }
}  // namespace

// A lookup touches two lines of a thousand at random: with small pages it waits longer for addresses than for data. A
// large table asks for huge ones; without them it only is slower.
Table Table::New(uint32_t buckets) {
  const size_t bytes = BytesOf(buckets);
  void* const memory = ::operator new(bytes, AlignmentOf(bytes));
  if (bytes >= kHugePage) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  std::memset(memory, 0, bytes);
  Table table;
  // User addresses have 47 bits, of which 6 are zero here.
  table.word_ = reinterpret_cast<uint64_t>(memory) << 16 | buckets;
  return table;
}

void Table::Delete() const { ::operator delete(At(0), AlignmentOf(Bytes())); }

}  // namespace cells

uint64_t ShardContext::OldestReader() const {
  uint64_t oldest = ~uint64_t{0};
  for (const Reader& reader : readers) {
    const uint64_t shown = reader.epoch.load();
    if (shown != 0 && shown < oldest) oldest = shown;
  }
  return oldest;
}

void Shard::Open(ShardContext& context, uint32_t number) {
  context_ = &context;
  table_ = &context.tables[number];
  table_->store(Table::New(kBucketsMin));
}

Shard::~Shard() {
  for (const Retired& retired : retired_) Free(retired);
  Cells().Delete();
}

Shard::Found Shard::Find(uint32_t slot, uint64_t key, const cells::Hash& hash) const {
  Found found;
  const Table at = Cells();
  uint32_t place[2];
  hash.Buckets(at.Buckets(), place[0], place[1]);
  int free_count[2] = {};
  Cell free[2];
  for (int b = 0; b < 2; ++b) {
    Bucket* const bucket = at.At(place[b]);
    for (int i = 0; i < kCells; ++i) {
      const Word word = bucket->word[i].load(std::memory_order_relaxed);
      const Cell cell{bucket, i};
      if (word == 0) {
        ++free_count[b];
        free[b] = cell;
      } else if (bucket->key[i].load(std::memory_order_relaxed) == key) {
        if (cells::IsRecord(word)) {
          found.record = cell;
        } else if (cells::SlotOf(word) == slot) {
          found.own = cell;
        } else {
          found.others[found.others_count++] = cell;
        }
      }
    }
  }
  found.free = free_count[1] > free_count[0] ? free[1] : free[0];
  return found;
}

// The order is what readers rely on: the cell is empty, then has the new key, then the bucket is a new version, and
// only then there is a word.
void Shard::Put(Cell cell, uint64_t key, Word word) {
  if (cell.bucket->key[cell.i].load(std::memory_order_relaxed) != key) {
    cell.bucket->key[cell.i].store(key);
    cell.bucket->version.fetch_add(1);
  }
  cell.word().store(word);
}

PrefixIndex::Stored Shard::Add(uint32_t slot, Holding holding, uint64_t key, const cells::Hash& hash, uint32_t now) {
  using enum PrefixIndex::Stored;
  Found found = Find(slot, key, hash);
  if (found.record) return AddToRecord(found.record, slot, holding, now);
  const uint32_t bit = 1u << holding;
  if (found.own) {
    const Word word = found.own.word().load(std::memory_order_relaxed);
    found.own.word().store(cells::HolderWord(slot, cells::SetOf(word) | bit, now));
    return (cells::SetOf(word) & bit) != 0 ? kHeldAlready : kNew;
  }
  if (found.others_count >= kInlineMax && context_->purges.load(std::memory_order_relaxed) != 0) {
    // They are about to move into one of their cells.
    for (int i = 0; i < found.others_count; ++i) PurgeCell(found.others[i]);
    found = Find(slot, key, hash);
  }
  if (found.others_count >= kInlineMax) return Promote(found, slot, holding, now);
  if (!found.free) found.free = MakeRoom(key, hash, now);
  if (!found.free) {
    context_->refused.fetch_add(1, std::memory_order_relaxed);
    return kRefused;
  }
  Put(found.free, key, cells::HolderWord(slot, bit, now));
  ++live_;
  context_->holders[slot].fetch_add(1, std::memory_order_relaxed);
  return kNew;
}

uint8_t Shard::Remove(uint32_t slot, uint8_t set, uint64_t key, const cells::Hash& hash) {
  const Found found = Find(slot, key, hash);
  if (found.record) return RemoveFromRecord(found.record, slot, set);
  if (!found.own) return 0;
  const Word word = found.own.word().load(std::memory_order_relaxed);
  const auto left = static_cast<uint8_t>(cells::SetOf(word) & ~set);
  if (left != 0) {
    found.own.word().store(cells::HolderWord(slot, left, cells::StampOf(word)));
  } else {
    found.own.word().store(0);
    --live_;
    context_->holders[slot].fetch_sub(1, std::memory_order_relaxed);
  }
  return left;
}

void Shard::Touch(uint32_t slot, uint64_t key, const cells::Hash& hash, uint32_t now) {
  const Found found = Find(slot, key, hash);
  if (found.own) found.own.word().store(cells::WithStamp(found.own.word().load(std::memory_order_relaxed), now));
  if (!found.record) return;
  cells::Record& record = RecordOf(found.record.word().load(std::memory_order_relaxed));
  if (!record.IsList()) {
    if (record.Set(slot) != 0) record.stamp.store(now);
    return;
  }
  for (uint32_t i = 0; i < record.capacity; ++i) {
    const Word word = record.Words()[i].load(std::memory_order_relaxed);
    if (word != 0 && cells::SlotOf(word) == slot) record.Words()[i].store(cells::WithStamp(word, now));
  }
}

std::optional<uint32_t> Shard::AgeTicks(uint32_t slot, uint64_t key, const cells::Hash& hash, uint32_t now) const {
  const Found found = Find(slot, key, hash);
  if (found.own) return cells::Age(now, cells::StampOf(found.own.word().load(std::memory_order_relaxed)));
  if (!found.record) return std::nullopt;
  cells::Record& record = RecordOf(found.record.word().load(std::memory_order_relaxed));
  if (!record.IsList()) {
    if (record.Set(slot) == 0) return std::nullopt;
    return cells::Age(now, record.stamp.load(std::memory_order_relaxed));
  }
  for (uint32_t i = 0; i < record.capacity; ++i) {
    const Word word = record.Words()[i].load(std::memory_order_relaxed);
    if (word != 0 && cells::SlotOf(word) == slot) return cells::Age(now, cells::StampOf(word));
  }
  return std::nullopt;
}

Shard::Cell Shard::FreeCell(Table at, uint32_t bucket) {
  for (int i = 0; i < kCells; ++i) {
    if (at.At(bucket)->word[i].load(std::memory_order_relaxed) == 0) return {at.At(bucket), i};
  }
  return {};
}

uint32_t Shard::OtherBucket(Table at, Cell resident, uint32_t from) {
  uint32_t places[2];
  cells::Hash(resident.bucket->key[resident.i].load(std::memory_order_relaxed))
      .Buckets(at.Buckets(), places[0], places[1]);
  return places[0] == from ? places[1] : places[0];
}

// A free cell in the key's buckets, made if need be by moving up to `moves` residents to their other buckets.
Shard::Cell Shard::Room(Table at, const cells::Hash& hash, int moves) {
  uint32_t place[2];
  hash.Buckets(at.Buckets(), place[0], place[1]);
  Cell free[2];
  int count[2] = {};
  for (int p = 0; p < 2; ++p) {
    for (int i = 0; i < kCells; ++i) {
      if (at.At(place[p])->word[i].load(std::memory_order_relaxed) != 0) continue;
      free[p] = {at.At(place[p]), i};
      ++count[p];
    }
  }
  if (count[0] + count[1] > 0) return count[1] > count[0] ? free[1] : free[0];
  for (int m = 1; m <= moves; ++m) {
    if (const Cell room = RoomByMoving(at, place, m)) return room;
  }
  return {};
}

// A moving cell is there twice for a moment; the new version between the copy and the erasure sends a reader back that
// saw neither. Two moves: the resident's other bucket is full, and one of its residents makes room first.
Shard::Cell Shard::RoomByMoving(Table at, std::span<const uint32_t> full, int moves) {
  for (const uint32_t from : full) {
    uint32_t others[kCells];
    for (int i = 0; i < kCells; ++i) {
      others[i] = OtherBucket(at, {at.At(from), i}, from);
      __builtin_prefetch(at.At(others[i]));
    }
    for (int i = 0; i < kCells; ++i) {
      const Cell resident{at.At(from), i};
      // Not in a table that is being made: its records are still the old one's too, which was purged just before.
      if (at.At(0) == Cells().At(0)) PurgeCell(resident);
      if (resident.word().load(std::memory_order_relaxed) == 0) return resident;
      Cell to = FreeCell(at, others[i]);
      if (!to && moves > 1) to = RoomByMoving(at, std::span(others).subspan(static_cast<size_t>(i), 1), moves - 1);
      if (!to) continue;
      const Word word = resident.word().load(std::memory_order_relaxed);
      Put(to, resident.bucket->key[i].load(std::memory_order_relaxed), word);
      resident.bucket->version.fetch_add(1);
      resident.word().store(0);
      return resident;
    }
  }
  return {};
}

// Copies every cell of `old` to `grown`, which nobody else sees yet. False when one finds no place.
bool Shard::Copy(Table old, Table grown) {
  // In scattered order (a prime step visits every bucket): taken in order, the first half would fill the second half's
  // places, and the second half find none.
  for (uint64_t n = 0; n < old.Buckets(); ++n) {
    const auto b = static_cast<uint32_t>(n * 4294967291 % old.Buckets());
    for (int i = 0; i < kCells; ++i) {
      PurgeCell({old.At(b), i});
      const Word word = old.At(b)->word[i].load(std::memory_order_relaxed);
      if (word == 0) continue;
      const uint64_t key = old.At(b)->key[i].load(std::memory_order_relaxed);
      const Cell to = Room(grown, cells::Hash(key), kMovesMax);
      if (!to) return false;
      Put(to, key, word);
    }
  }
  return true;
}

bool Shard::Take(size_t bytes, size_t limit) {
  if (context_->budget.Take(bytes, limit)) return true;
  Reclaim();
  return context_->budget.Take(bytes, limit);
}

// A new table is complete before readers see it; the old one stays as it is until they have left it.
bool Shard::Grow() {
  const Table old = Cells();
  // Chosen keys can fill two buckets of an empty table: that must not make it large.
  if (live_ < uint64_t{old.Buckets()} * kCells * 4 / 10 && old.Buckets() > 64) return false;
  uint32_t wanted = old.Buckets();
  // In a small table a few keys can share both buckets at one size and not at the next.
  const int attempts = wanted < 64 ? 32 : 3;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    wanted += wanted / 8 + 1;
    // Tables leave a tenth of the budget to the endpoints' maps, without which they could not be kept true.
    if (wanted > Table::kBucketsMax) return false;
    if (!Take(Table::BytesOf(wanted), context_->budget.Max() / 10 * 9)) return false;
    const Table grown = Table::New(wanted);
    if (Copy(old, grown)) {
      table_->store(grown);
      Retire(old, nullptr, -1);
      return true;
    }
    grown.Delete();
    context_->budget.Give(Table::BytesOf(wanted));
  }
  return false;
}

uint32_t Shard::AgeOf(const Shard& shard, Word word, uint32_t now) {
  return cells::Age(
      now, cells::IsRecord(word) ? shard.RecordOf(word).stamp.load(std::memory_order_relaxed) : cells::StampOf(word));
}

void Shard::EvictCell(Cell cell) {
  const Word word = cell.word().load(std::memory_order_relaxed);
  if (cells::IsRecord(word)) {
    std::vector<Word> holders;
    cells::Record& record = RecordOf(word);
    Collect(record, holders);
    for (const Word holder : holders) context_->holders[cells::SlotOf(holder)].fetch_sub(1, std::memory_order_relaxed);
    context_->evicted.fetch_add(holders.size(), std::memory_order_relaxed);
    cell.word().store(0);
    Retire({}, &record, word & ~cells::kRecordBit);
  } else {
    cell.word().store(0);
    context_->holders[cells::SlotOf(word)].fetch_sub(1, std::memory_order_relaxed);
    context_->evicted.fetch_add(1, std::memory_order_relaxed);
  }
  --live_;
}

// A free cell for the key: by growing, or else in the place of the least recently used.
Shard::Cell Shard::MakeRoom(uint64_t key, const cells::Hash& hash, uint32_t now) {
  if (live_ < uint64_t{Cells().Buckets()} * kCells * 9 / 10) {
    if (const Cell free = Room(Cells(), hash, kMovesMax)) return free;
  }
  while (Grow()) {
    if (const Cell free = Room(Cells(), hash, kMovesMax)) return free;
  }
  // A table that may not grow becomes fuller than it would otherwise, but not at any price.
  if (const Cell free = Room(Cells(), hash, 1)) return free;
  const Table at = Cells();
  uint32_t place[2];
  hash.Buckets(at.Buckets(), place[0], place[1]);
  Cell oldest;
  uint32_t oldest_age = 0;
  for (const uint32_t p : place) {
    for (int i = 0; i < kCells; ++i) {
      const Cell cell{at.At(p), i};
      if (cell.bucket->key[i].load(std::memory_order_relaxed) == key) continue;
      const uint32_t age = AgeOf(*this, cell.word().load(std::memory_order_relaxed), now);
      if (oldest && age <= oldest_age) continue;
      oldest = cell;
      oldest_age = age;
    }
  }
  if (oldest) EvictCell(oldest);
  return oldest;
}

size_t Shard::CountHoldings(std::vector<std::array<uint64_t, kHoldings>>& by_slot) const {
  std::vector<Word> holders;
  const Table at = Cells();
  for (uint32_t b = 0; b < at.Buckets(); ++b) {
    for (int i = 0; i < kCells; ++i) {
      const Word word = at.At(b)->word[i].load(std::memory_order_relaxed);
      if (word == 0) continue;
      holders.assign(1, word);
      if (cells::IsRecord(word)) Collect(RecordOf(word), holders);
      for (const Word holder : holders) {
        for (Holding h = 0; h < kHoldings; ++h) by_slot[cells::SlotOf(holder)][h] += cells::SetOf(holder) >> h & 1;
      }
    }
  }
  return size_t{at.Buckets()} * kCells;
}

void Shard::ClampAges(uint32_t now) {
  const uint32_t old = (now - cells::kTicksOld) & cells::kStampMask;
  const auto clamp = [&](std::atomic<Word>& at) {
    const Word word = at.load(std::memory_order_relaxed);
    if (word != 0 && cells::Age(now, cells::StampOf(word)) > cells::kTicksOld) at.store(cells::WithStamp(word, old));
  };
  const Table at = Cells();
  for (uint32_t b = 0; b < at.Buckets(); ++b) {
    for (int i = 0; i < kCells; ++i) {
      const Word word = at.At(b)->word[i].load(std::memory_order_relaxed);
      if (!cells::IsRecord(word)) {
        clamp(at.At(b)->word[i]);
        continue;
      }
      cells::Record& record = RecordOf(word);
      if (cells::Age(now, record.stamp.load(std::memory_order_relaxed)) > cells::kTicksOld) record.stamp.store(old);
      for (uint32_t k = 0; k < record.capacity; ++k) clamp(record.Words()[k]);
    }
  }
}

void Shard::Retire(Table old_table, cells::Record* record, int64_t number) {
  retired_.push_back({context_->epoch.fetch_add(1), old_table, record, number});
  if (record == nullptr || retired_.size() >= kRetiredMax) Reclaim();
}

void Shard::Reclaim() {
  if (retired_.empty()) return;
  const uint64_t oldest = context_->OldestReader();
  size_t kept = 0;
  for (size_t i = 0; i < retired_.size(); ++i) {
    if (retired_[i].epoch < oldest) {
      Free(retired_[i]);
    } else {
      retired_[kept++] = retired_[i];
    }
  }
  retired_.resize(kept);
}

void Shard::Free(const Retired& retired) {
  const size_t bytes = retired.record == nullptr ? retired.table.Bytes() : retired.record->Bytes();
  context_->budget.Give(bytes);
  if (retired.record == nullptr) {
    retired.table.Delete();
    return;
  }
  if (retired.number >= 0) {
    records.Give(static_cast<uint32_t>(retired.number));
  }
  cells::Record::Delete(retired.record);
}

}  // namespace sluice::kvindex

// Records of a shard: keys with more than a few holders.
#include <algorithm>
#include <bit>

#include "kvindex/prefix_shard.h"

namespace sluice::kvindex {
namespace {

using cells::Record;
using cells::Word;

constexpr size_t kListMin = 3;
constexpr uint32_t kSetHoldersMin = 16;  // fewer holders are always a list
constexpr uint32_t kRowStep = 4;         // words
constexpr size_t kSetWorth = 2;          // a bitset may be so many times larger than the list: it is walked by words

// Words of a list that has room for these holders: as many as fill the allocator's chunk, 3 and a multiple of 4.
size_t ListCapacity(size_t holders) { return (holders + holders / 8) / 4 * 4 + kListMin; }

// Words of a bitset that has room for these holders and for a few slots above. Slots are given from the lowest, so a
// small fleet has short bitsets however many endpoints the index admits.
uint32_t RowOf(const std::vector<Word>& holders, uint32_t row_max) {
  uint32_t words = 0;
  for (const Word word : holders) words = std::max(words, cells::SlotOf(word) / 64 + 1);
  return std::min(row_max, (words + kRowStep - 1) / kRowStep * kRowStep);
}

}  // namespace

void Shard::Collect(Record& record, std::vector<Word>& out) const {
  out.clear();
  if (record.IsList()) {
    for (uint32_t i = 0; i < record.capacity; ++i) {
      if (const Word word = record.Words()[i].load(std::memory_order_relaxed)) out.push_back(word);
    }
    return;
  }
  const uint32_t stamp = record.stamp.load(std::memory_order_relaxed);
  const auto planes = static_cast<uint32_t>(std::popcount(record.holdings));
  const std::atomic<uint64_t>* const bits = record.Plane(0);
  for (uint32_t w = 0; w < record.row; ++w) {
    uint64_t any = 0;
    for (uint32_t p = 0; p < planes; ++p) any |= bits[p * record.row + w].load(std::memory_order_relaxed);
    for (; any != 0; any &= any - 1) {
      const uint32_t slot = w * 64 + static_cast<uint32_t>(std::countr_zero(any));
      out.push_back(cells::HolderWord(slot, record.Set(slot), stamp));
    }
  }
}

// A record in the form that suits these holders, with some room; null without memory.
Record* Shard::Build(const std::vector<Word>& holders) {
  uint8_t sets = 0;
  for (const Word word : holders) sets |= cells::SetOf(word);
  const size_t capacity = ListCapacity(holders.size());
  const auto planes = static_cast<uint32_t>(std::popcount(sets));
  const size_t list_bytes = Record::ListBytes(capacity);
  const uint32_t row = RowOf(holders, context_->row);
  const size_t set_bytes = Record::SetBytes(row, planes);
  const bool list = holders.size() <= kSetHoldersMin || list_bytes * kSetWorth < set_bytes;
  const size_t bytes = list ? list_bytes : set_bytes;
  if (!Take(bytes, context_->budget.Max())) return nullptr;
  Record* record = Record::New(bytes);
  record->count = static_cast<uint16_t>(holders.size());
  uint32_t newest = cells::StampOf(holders.back());
  record->stamp.store(newest, std::memory_order_relaxed);
  if (list) {
    record->capacity = static_cast<uint16_t>(capacity);
    for (size_t i = 0; i < holders.size(); ++i) record->Words()[i].store(holders[i], std::memory_order_relaxed);
    return record;
  }
  record->row = static_cast<uint8_t>(row);
  record->holdings = sets;
  for (const Word word : holders) {
    for (uint32_t left = cells::SetOf(word); left != 0; left &= left - 1) {
      auto& bits = record->Plane(std::countr_zero(left))[cells::SlotOf(word) / 64];
      const uint64_t bit = uint64_t{1} << cells::SlotOf(word) % 64;
      bits.store(bits.load(std::memory_order_relaxed) | bit, std::memory_order_relaxed);
    }
  }
  return record;
}

std::optional<uint32_t> Shard::NewNumber() {
  if (const auto number = records.Take()) return number;
  if (records.Full() || !Take(records.NextChunkBytes(), context_->budget.Max())) return std::nullopt;
  records.AddChunk();
  return records.Take();
}

// Replaces the record behind `cell` by one for `holders`; the cell does not change.
bool Shard::Rebuild(Cell cell, const std::vector<Word>& holders) {
  Record* const fresh = Build(holders);
  if (fresh == nullptr) return false;
  auto& at = records.At(cell.word().load(std::memory_order_relaxed) & ~cells::kRecordBit);
  Record* const old = at.load(std::memory_order_relaxed);
  fresh->stamp.store(old->stamp.load(std::memory_order_relaxed), std::memory_order_relaxed);
  at.store(fresh);
  Retire({}, old, -1);
  return true;
}

// A key's third holder: its cells become one that names a record. A reader that saw the first cell before and the
// others after would miss holders; the new version between the two sends it back.
PrefixIndex::Stored Shard::Promote(const Found& found, uint32_t slot, Holding holding, uint32_t now) {
  std::vector<Word> holders;
  for (int i = 0; i < found.others_count; ++i) {
    holders.push_back(found.others[i].word().load(std::memory_order_relaxed));
  }
  holders.push_back(cells::HolderWord(slot, 1u << holding, now));
  const std::optional<uint32_t> number = NewNumber();
  Record* const record = number.has_value() ? Build(holders) : nullptr;
  context_->holders[slot].fetch_add(1, std::memory_order_relaxed);
  if (record == nullptr) {
    if (number.has_value()) records.Give(*number);
    // No memory: the key's least recently used holder makes room.
    Cell oldest = found.others[0];
    for (int i = 1; i < found.others_count; ++i) {
      const Word word = found.others[i].word().load(std::memory_order_relaxed);
      if (AgeOf(*this, word, now) > AgeOf(*this, oldest.word().load(std::memory_order_relaxed), now)) {
        oldest = found.others[i];
      }
    }
    const uint32_t gone = cells::SlotOf(oldest.word().load(std::memory_order_relaxed));
    context_->holders[gone].fetch_sub(1, std::memory_order_relaxed);
    context_->evicted.fetch_add(1, std::memory_order_relaxed);
    oldest.word().store(holders.back());
    return PrefixIndex::Stored::kNew;
  }
  records.At(*number).store(record);
  found.others[0].word().store(cells::kRecordBit | *number);
  found.others[0].bucket->version.fetch_add(1);
  for (int i = 1; i < found.others_count; ++i) found.others[i].word().store(0);
  live_ -= static_cast<uint32_t>(found.others_count - 1);
  return PrefixIndex::Stored::kNew;
}

PrefixIndex::Stored Shard::AddToRecord(Cell cell, uint32_t slot, Holding holding, uint32_t now) {
  using enum PrefixIndex::Stored;
  Record& record = RecordOf(cell.word().load(std::memory_order_relaxed));
  const auto bit = static_cast<uint8_t>(1u << holding);
  record.stamp.store(now);
  std::vector<Word> holders;
  if (record.IsList()) {
    std::atomic<Word>* hole = nullptr;
    for (uint32_t i = 0; i < record.capacity; ++i) {
      auto& at = record.Words()[i];
      const Word word = at.load(std::memory_order_relaxed);
      if (word == 0) {
        hole = &at;
      } else if (cells::SlotOf(word) == slot) {
        at.store(cells::HolderWord(slot, cells::SetOf(word) | bit, now));
        return (cells::SetOf(word) & bit) != 0 ? kHeldAlready : kNew;
      }
    }
    context_->holders[slot].fetch_add(1, std::memory_order_relaxed);
    if (hole != nullptr) {
      hole->store(cells::HolderWord(slot, bit, now));
      ++record.count;
      return kNew;
    }
    Collect(record, holders);
    holders.push_back(cells::HolderWord(slot, bit, now));
    if (Rebuild(cell, holders)) return kNew;
    // No memory: its least recently used holder makes room.
    std::atomic<Word>* oldest = &record.Words()[0];
    for (uint32_t i = 1; i < record.capacity; ++i) {
      auto& at = record.Words()[i];
      if (cells::Age(now, cells::StampOf(at.load(std::memory_order_relaxed))) >
          cells::Age(now, cells::StampOf(oldest->load(std::memory_order_relaxed)))) {
        oldest = &at;
      }
    }
    context_->holders[cells::SlotOf(oldest->load(std::memory_order_relaxed))].fetch_sub(1, std::memory_order_relaxed);
    context_->evicted.fetch_add(1, std::memory_order_relaxed);
    oldest->store(holders.back());
    return kNew;
  }
  const uint8_t had = record.Set(slot);
  if ((had & bit) != 0) return kHeldAlready;
  if ((record.holdings & bit) != 0 && slot / 64 < record.row) {
    record.Plane(holding)[slot / 64].fetch_or(uint64_t{1} << slot % 64);
    if (had == 0) {
      ++record.count;
      context_->holders[slot].fetch_add(1, std::memory_order_relaxed);
    }
    return kNew;
  }
  // The first holder on this tier, or the first slot beyond the bitsets.
  Collect(record, holders);
  if (had == 0) {
    holders.push_back(cells::HolderWord(slot, bit, now));
  } else {
    for (Word& word : holders) {
      if (cells::SlotOf(word) == slot) word = cells::HolderWord(slot, had | bit, now);
    }
  }
  if (!Rebuild(cell, holders)) {
    context_->refused.fetch_add(1, std::memory_order_relaxed);
    return kRefused;
  }
  if (had == 0) context_->holders[slot].fetch_add(1, std::memory_order_relaxed);
  return kNew;
}

uint8_t Shard::RemoveFromRecord(Cell cell, uint32_t slot, uint8_t set) {
  Record& record = RecordOf(cell.word().load(std::memory_order_relaxed));
  uint8_t left = 0;
  bool gone = false;
  if (record.IsList()) {
    for (uint32_t i = 0; i < record.capacity; ++i) {
      auto& at = record.Words()[i];
      const Word word = at.load(std::memory_order_relaxed);
      if (word == 0 || cells::SlotOf(word) != slot) continue;
      left = static_cast<uint8_t>(cells::SetOf(word) & ~set);
      at.store(left == 0 ? 0 : cells::HolderWord(slot, left, cells::StampOf(word)));
      gone = left == 0;
      break;
    }
  } else {
    const uint8_t had = record.Set(slot);
    left = static_cast<uint8_t>(had & ~set);
    for (uint32_t out = set & had; out != 0; out &= out - 1) {
      record.Plane(std::countr_zero(out))[slot / 64].fetch_and(~(uint64_t{1} << slot % 64));
    }
    gone = had != 0 && left == 0;
  }
  if (!gone) return left;
  context_->holders[slot].fetch_sub(1, std::memory_order_relaxed);
  --record.count;
  Fit(cell);
  return 0;
}

// After a holder left: none or one ends the record, few make it smaller.
void Shard::Fit(Cell cell) {
  const Word name = cell.word().load(std::memory_order_relaxed);
  Record& record = RecordOf(name);
  if (record.count <= 1) {
    std::vector<Word> holders;
    Collect(record, holders);
    cell.word().store(holders.empty() ? 0 : holders[0]);
    if (holders.empty()) --live_;
    Retire({}, &record, name & ~cells::kRecordBit);
    return;
  }
  const bool few = record.IsList() ? record.capacity > kListMin && record.count * 4u < record.capacity
                                   : record.count < kSetHoldersMin / 2 ||
                                         Record::ListBytes(ListCapacity(record.count)) * kSetWorth * 2 < record.Bytes();
  if (!few) return;
  std::vector<Word> holders;
  Collect(record, holders);
  Rebuild(cell, holders);  // without memory it stays as it is
}

}  // namespace sluice::kvindex

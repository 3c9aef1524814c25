// The memory of PrefixIndex: words, cells, buckets, tables and records, and how they are read and written in one piece.
// Internal to the index; prefix_index.h says how the parts work together. Thread rule: fields that readers touch are
// atomic and used with the default order, which costs nothing to load on x86 and makes the arguments there hold.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>

namespace sluice::kvindex::cells {

// A word: bit 31 tells a record from a holder. Record: 31 bits of record number. Holder: slot 13, set 8, stamp 10.
// A live holder's set is never empty, so a live word is never 0.
using Word = uint32_t;
inline constexpr Word kRecordBit = 1u << 31;
inline constexpr uint32_t kSlotsMax = (1u << 13) - 1;
inline constexpr uint32_t kStampMask = (1u << 10) - 1;
inline constexpr uint32_t kTickSeconds = 4;
inline constexpr uint32_t kTicksOld = 512;  // ages are kept at or below this, give or take a sweep

constexpr Word HolderWord(uint32_t slot, uint32_t set, uint32_t stamp) { return slot << 18 | set << 10 | stamp; }
constexpr bool IsRecord(Word word) { return (word & kRecordBit) != 0; }
constexpr uint32_t SlotOf(Word word) { return word >> 18 & kSlotsMax; }
constexpr uint8_t SetOf(Word word) { return static_cast<uint8_t>(word >> 10); }
constexpr uint32_t StampOf(Word word) { return word & kStampMask; }
constexpr Word WithStamp(Word word, uint32_t stamp) { return (word & ~kStampMask) | stamp; }
// A stamp slightly ahead of `now` (another thread's clock reading) is new, not very old.
constexpr uint32_t Age(uint32_t now, uint32_t stamp) {
  const uint32_t age = (now - stamp) & kStampMask;
  return age > kStampMask - 8 ? 0 : age;
}

inline constexpr uint32_t kShards = 64;

inline constexpr int kCells = 5;
struct alignas(64) Bucket {
  std::atomic<uint64_t> key[kCells];
  std::atomic<Word> word[kCells];
  std::atomic<uint32_t> version;
};
static_assert(sizeof(Bucket) == 64);

// A table: so many buckets at this address, in one word that a reader loads in one piece.
class Table {
 public:
  static constexpr uint32_t kBucketsMax = (1u << 22) - 1;
  uint32_t Buckets() const { return static_cast<uint32_t>(word_ & kBucketsMax); }
  Bucket* At(uint32_t i) const { return reinterpret_cast<Bucket*>(word_ >> 22 << 6) + i; }
  size_t Bytes() const { return BytesOf(Buckets()); }
  static size_t BytesOf(uint32_t buckets) { return size_t{buckets} * sizeof(Bucket); }
  static Table New(uint32_t buckets);  // all empty
  void Delete() const;

 private:
  uint64_t word_ = 0;
};
static_assert(std::atomic<Table>::is_always_lock_free);

struct Hash {
  explicit Hash(uint64_t key) {
    uint64_t h = (key ^ key >> 32) * 0x9e3779b97f4a7c15;
    h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9;
    value = h ^ h >> 32;
  }
  uint32_t Shard() const { return value & (kShards - 1); }
  // Two different buckets of a table of at least two.
  void Buckets(uint32_t buckets, uint32_t& first, uint32_t& second) const {
    first = static_cast<uint32_t>((value >> 32) * buckets >> 32);
    const uint64_t other = value * 0xd6e8feb86659fd93 >> 32;
    second = first + 1 + static_cast<uint32_t>(other * (buckets - 1) >> 32);
    if (second >= buckets) second -= buckets;
  }
  uint64_t value;
};

// The holders of one key that has more than a few. A list has `capacity` words (0: free); otherwise there is a bitset
// of `row` 64-bit words for each holding in `holdings`, by rising holding, and one stamp for all.
struct Record {
  std::atomic<uint32_t> stamp{0};
  uint16_t count = 0;     // holders; the writer's
  uint16_t capacity = 0;  // 0: bitsets
  uint8_t row = 0;
  uint8_t holdings = 0;

  bool IsList() const { return capacity > 0; }
  size_t Bytes() const {
    return IsList() ? ListBytes(capacity) : SetBytes(row, static_cast<size_t>(std::popcount(holdings)));
  }
  std::atomic<Word>* Words() { return reinterpret_cast<std::atomic<Word>*>(this + 1); }
  // The bitset of one of `holdings`.
  std::atomic<uint64_t>* Plane(int holding) {
    const auto before = static_cast<size_t>(std::popcount(holdings & ((1u << holding) - 1)));
    return reinterpret_cast<std::atomic<uint64_t>*>(reinterpret_cast<char*>(this) + kPlanesAt) + row * before;
  }
  // How the slot holds the key, by the bitsets.
  uint8_t Set(uint32_t slot) {
    uint8_t set = 0;
    if (slot / 64 >= row) return set;
    for (uint32_t left = holdings; left != 0; left &= left - 1) {
      const int holding = std::countr_zero(left);
      if ((Plane(holding)[slot / 64].load() >> slot % 64 & 1) != 0) set |= static_cast<uint8_t>(1u << holding);
    }
    return set;
  }
  // What the allocator takes: its chunks are 16 bytes apart and begin with 8 of its own.
  static constexpr size_t kPlanesAt = 16;
  static constexpr size_t Chunk(size_t bytes) { return (bytes + 8 + 15) / 16 * 16; }
  static size_t ListBytes(size_t capacity) { return Chunk(sizeof(Record) + capacity * sizeof(Word)); }
  static size_t SetBytes(size_t row, size_t planes) { return Chunk(kPlanesAt + row * planes * 8); }
  static Record* New(size_t bytes) {
    void* memory = ::operator new(bytes - 8);
    std::memset(memory, 0, bytes - 8);
    return new (memory) Record;
  }
  static void Delete(Record* record) { ::operator delete(record); }
};
static_assert(sizeof(Record) == 12);

// Record number -> record. Grows by chunks, eight of a size and then eight of twice that, which never move, so that a
// reader needs no lock. Thread rule: readers call At with numbers that cells name; the rest is the writers'.
class Directory {
 public:
  static constexpr uint32_t kNumbersMax = 1u << 22;
  std::atomic<Record*>& At(uint32_t number) const {
    const Place place(number);
    return chunks_[place.chunk].load()[place.at];
  }
  // A number that names no record, or nothing when the next chunk has not been added. Chunks are appended in order.
  std::optional<uint32_t> Take() {
    if (free_ != kNone) {
      const uint32_t number = free_;
      free_ = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(At(number).load(std::memory_order_relaxed)) >> 1);
      At(number).store(nullptr, std::memory_order_relaxed);
      return number;
    }
    if (numbers_ == kNumbersMax || chunks_[Place(numbers_).chunk].load() == nullptr) return std::nullopt;
    return numbers_++;
  }
  // Nobody can look the number up any more. Free numbers are a list through their own places, told by the lowest bit.
  void Give(uint32_t number) {
    At(number).store(reinterpret_cast<Record*>(uintptr_t{free_} << 1 | 1), std::memory_order_relaxed);
    free_ = number;
  }
  size_t NextChunkBytes() const { return size_t{Place(numbers_).size} * sizeof(std::atomic<Record*>); }
  void AddChunk() {
    const Place place(numbers_);
    chunks_[place.chunk].store(new std::atomic<Record*>[place.size]());
  }
  bool Full() const { return numbers_ == kNumbersMax; }
  ~Directory() {
    for (uint32_t i = 0; i < numbers_; ++i) {
      Record* const record = At(i).load();
      if ((reinterpret_cast<uintptr_t>(record) & 1) == 0) Record::Delete(record);
    }
    for (auto& chunk : chunks_) delete[] chunk.load();
  }

 private:
  static constexpr uint32_t kFirstBits = 5;
  static constexpr uint32_t kNone = ~0u;
  struct Place {
    explicit Place(uint32_t number) {
      const uint32_t n = number + (1u << kFirstBits);
      const auto bits = static_cast<uint32_t>(31 - std::countl_zero(n));
      size = 1u << (bits - 3);
      chunk = (bits - kFirstBits) * 8 + (n >> (bits - 3) & 7);
      at = n & (size - 1);
    }
    uint32_t chunk, at, size;
  };
  static constexpr size_t kChunks = (22 - kFirstBits + 1) * 8;
  std::atomic<std::atomic<Record*>*> chunks_[kChunks] = {};
  uint32_t numbers_ = 0;
  uint32_t free_ = kNone;
};

}  // namespace sluice::kvindex::cells

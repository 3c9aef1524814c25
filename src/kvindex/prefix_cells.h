// The memory of PrefixIndex: words, cells, buckets, tables and records, and how they are read and written in one piece.
// Internal to the index; prefix_index.h says how the parts work together. Thread rule: fields that readers touch are
// atomic and used with the default order, which costs nothing to load on x86 and makes the arguments there hold.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>

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

// The holders of one key that has more than a few. A list has `capacity` words (0: free); otherwise there are `planes`
// bitsets of `row` 64-bit words, one for each holding in plane_of, and one stamp for all.
struct Record {
  uint32_t bytes = 0;
  uint32_t capacity = 0;  // 0: bitsets
  uint32_t row = 0;
  uint8_t planes = 0;
  uint8_t holding_of[8] = {};
  uint32_t count = 0;  // holders; the writer's
  std::atomic<uint32_t> stamp{0};

  bool IsList() const { return capacity > 0; }
  std::atomic<Word>* Words() { return reinterpret_cast<std::atomic<Word>*>(this + 1); }
  std::atomic<uint64_t>* Plane(int plane) {
    return reinterpret_cast<std::atomic<uint64_t>*>(this + 1) + size_t{row} * static_cast<size_t>(plane);
  }
  static size_t ListBytes(uint32_t capacity) { return sizeof(Record) + size_t{capacity} * sizeof(Word); }
  static size_t SetBytes(uint32_t row, uint32_t planes) { return sizeof(Record) + size_t{row} * planes * 8; }
  uint8_t Set(uint32_t slot) {
    uint8_t set = 0;
    for (int p = 0; p < planes; ++p) {
      if ((Plane(p)[slot / 64].load() >> slot % 64 & 1) != 0) set |= static_cast<uint8_t>(1u << holding_of[p]);
    }
    return set;
  }
  static Record* New(size_t bytes) {
    void* memory = ::operator new(bytes);
    std::memset(memory, 0, bytes);
    auto* record = new (memory) Record;
    record->bytes = static_cast<uint32_t>(bytes);
    return record;
  }
  static void Delete(Record* record) { ::operator delete(record); }
};
static_assert(sizeof(Record) % 8 == 0);

// Record number -> record. Grows by doubling chunks that never move, so that a reader needs no lock.
class Directory {
 public:
  static constexpr int kChunks = 24;
  std::atomic<Record*>& At(uint32_t number) const {
    const uint32_t n = number + kFirst;
    const int chunk = 31 - __builtin_clz(n) - kFirstBits;
    return chunks_[chunk].load()[n - (kFirst << chunk)];
  }
  // Chunks are appended in order; `number` is the first without one.
  bool Has(uint32_t number) const {
    const int chunk = 31 - __builtin_clz(number + kFirst) - kFirstBits;
    return chunk < kChunks && chunks_[chunk].load() != nullptr;
  }
  static uint32_t ChunkSize(uint32_t number) { return kFirst << (31 - __builtin_clz(number + kFirst) - kFirstBits); }
  void AddChunk(uint32_t number) {
    const int chunk = 31 - __builtin_clz(number + kFirst) - kFirstBits;
    chunks_[chunk].store(new std::atomic<Record*>[ChunkSize(number)]());
  }
  ~Directory() {
    for (auto& chunk : chunks_) delete[] chunk.load();
  }

 private:
  static constexpr uint32_t kFirstBits = 5;
  static constexpr uint32_t kFirst = 1u << kFirstBits;
  std::atomic<std::atomic<Record*>*> chunks_[kChunks] = {};
};

}  // namespace sluice::kvindex::cells

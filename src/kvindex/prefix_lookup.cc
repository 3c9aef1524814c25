// The readers' walk over a chain. Per block: find the key's cells, turn its holders into the set of endpoints that go
// on, and note for each how it holds the block. Endpoints that drop out become matches. Sets are bitsets over slots;
// how an endpoint holds a block is noted only when that changes from one block to the next, so that a thousand
// endpoints with the same prefix cost a few words a block.
#include <algorithm>
#include <bit>

#include "base/check.h"
#include "kvindex/prefix_index_impl.h"

namespace sluice::kvindex {

namespace {

using cells::Bucket;
using cells::kCells;
using cells::Word;

constexpr Holding kNone = kHoldings;
constexpr size_t kAhead = 12;       // keys whose buckets are on their way
constexpr size_t kRecordAhead = 5;  // keys whose records are, while the chain is in records
constexpr size_t kPlaces = 16;      // more than kAhead
constexpr int kRetriesMax = 64;     // each needs a writer that changed the same bucket meanwhile

}  // namespace

struct PrefixMatches::Scratch {
  struct Run {
    std::array<uint32_t, kHoldings> by_holding{};
    uint32_t since = 0;  // first block of the current run
    uint32_t stamp = 0;  // of the last block that was not a record of bitsets
    Holding holding = kNone;
  };
  std::vector<Run> runs;                     // by slot
  std::vector<uint64_t> active, next;        // slots that hold everything so far
  std::vector<uint64_t> current[kHoldings];  // of those, the ones whose current run is of this holding
  ShardContext::Reader* reader = nullptr;
};

PrefixMatches::PrefixMatches(const PrefixIndex& index) : scratch_(std::make_unique<Scratch>()) {
  ShardContext& context = index.impl_->context;
  matches_.reserve(index.options().endpoints_max);
  scratch_->runs.resize(size_t{context.row} * 64);
  scratch_->active.resize(context.row);
  scratch_->next.resize(context.row);
  for (auto& current : scratch_->current) current.resize(context.row);
  for (auto& reader : context.readers) {
    if (!reader.taken.exchange(true)) {
      scratch_->reader = &reader;
      break;
    }
  }
  SLUICE_CHECK(scratch_->reader != nullptr, "more PrefixMatches than the index's readers_max");
}

PrefixMatches::~PrefixMatches() { scratch_->reader->taken.store(false); }

const PrefixMatch* PrefixMatches::Find(model::EndpointId endpoint) const {
  for (const PrefixMatch& match : matches_) {
    if (match.endpoint == endpoint) return &match;
  }
  return nullptr;
}

// One Lookup.
class PrefixWalk {
 public:
  PrefixWalk(PrefixIndex::Impl& index, const HoldingWeights& weights, PrefixMatches& out)
      : index_(index), weights_(weights), out_(out), s_(*out.scratch_), now_(index.NowTicks()) {}

  void Run(std::span<const uint64_t> chain) {
    out_.matches_.clear();
    const size_t ahead = std::min(chain.size(), kAhead);
    for (size_t i = 0; i < ahead; ++i) Fetch(chain[i], i);
    uint32_t i = 0;
    for (; i < chain.size(); ++i) {
      if (i + kAhead < chain.size()) Fetch(chain[i + kAhead], i + kAhead);
      if (stamp_shared_ && i + kRecordAhead < chain.size()) FetchRecord(chain[i + kRecordAhead], i + kRecordAhead);
      if (!Step(i, chain[i])) break;
    }
    // Those that are left hold every block that was walked.
    for (uint32_t w = low_; w < high_; ++w) {
      End(w, s_.active[w], i);
      s_.active[w] = 0;
    }
  }

 private:
  struct Holders {
    Word words[2 * kCells];
    int count = 0;
    cells::Record* record = nullptr;
  };

  // Where a key is looked for. A table that is replaced meanwhile stays as it was at that moment, which is within this
  // lookup; so the place of a key is found once, when its memory is sent for.
  struct Place {
    Shard* shard;
    Bucket* buckets[2];
  };
  Place Locate(uint64_t key) const {
    const cells::Hash hash(key);
    Shard& shard = index_.At(hash);
    const cells::Table table = shard.table.load();
    uint32_t first = 0;
    uint32_t second = 0;
    hash.Buckets(table.Buckets(), first, second);
    return {&shard, {table.At(first), table.At(second)}};
  }

  void Fetch(uint64_t key, size_t block) {
    const Place place = places_[block % kPlaces] = Locate(key);
    __builtin_prefetch(place.buckets[0]);
    __builtin_prefetch(place.buckets[1]);
  }

  // A hint only: what the cells name now.
  void FetchRecord(uint64_t key, size_t block) const {
    const Place& place = places_[block % kPlaces];
    for (Bucket* const bucket : place.buckets) {
      for (int i = 0; i < kCells; ++i) {
        const Word word = bucket->word[i].load();
        if (!cells::IsRecord(word) || bucket->key[i].load() != key) continue;
        const auto* const bytes =
            reinterpret_cast<const char*>(place.shard->records.At(word & ~cells::kRecordBit).load());
        for (size_t line = 0; line < 3; ++line) __builtin_prefetch(bytes + line * 64);
      }
    }
  }

  // The key's holders at one moment. The versions are read before and after everything else.
  static void Read(uint64_t key, const Place& place, Holders& out) {
    for (int retry = 0; retry < kRetriesMax; ++retry) {
      out.count = 0;
      out.record = nullptr;
      const uint32_t before[] = {place.buckets[0]->version.load(), place.buckets[1]->version.load()};
      for (Bucket* const bucket : place.buckets) {
        for (int i = 0; i < kCells; ++i) {
          if (bucket->key[i].load() != key) continue;
          const Word word = bucket->word[i].load();
          if (cells::IsRecord(word)) {
            out.record = place.shard->records.At(word & ~cells::kRecordBit).load();
          } else if (word != 0) {
            out.words[out.count++] = word;
          }
        }
      }
      if (place.buckets[0]->version.load() == before[0] && place.buckets[1]->version.load() == before[1]) return;
    }
    out.count = 0;
    out.record = nullptr;
  }

  // False when nobody is left.
  bool Step(uint32_t block, uint64_t key) {
    Holders holders;
    Read(key, places_[block % kPlaces], holders);
    if (block == 0) high_ = static_cast<uint32_t>(s_.next.size());
    if (holders.record != nullptr && !holders.record->IsList()) {
      StepSet(block, *holders.record);
    } else {
      if (holders.record == nullptr) {
        for (int k = 0; k < holders.count; ++k) Holder(block, holders.words[k]);
      } else {
        for (uint32_t k = 0; k < holders.record->capacity; ++k) {
          if (const Word word = holders.record->Words()[k].load()) Holder(block, word);
        }
      }
      Advance(block);
      stamp_shared_ = false;
    }
    return low_ < high_;
  }

  void Holder(uint32_t block, Word word) {
    const uint32_t slot = cells::SlotOf(word);
    const uint64_t bit = uint64_t{1} << slot % 64;
    if (block == 0) {
      Begin(slot);
    } else if ((s_.active[slot / 64] & bit) == 0) {
      return;
    }
    s_.next[slot / 64] |= bit;
    s_.runs[slot].stamp = cells::StampOf(word);
    Note(slot, weights_.Best(cells::SetOf(word)), block);
  }

  // Ends those that do not go on, and makes `next` the active set.
  void Advance(uint32_t block) {
    uint32_t low = high_;
    uint32_t high = low_;
    for (uint32_t w = low_; w < high_; ++w) {
      const uint64_t next = s_.next[w];
      s_.next[w] = 0;
      if (block > 0) End(w, s_.active[w] & ~next, block);
      s_.active[w] = next;
      if (next == 0) continue;
      low = std::min(low, w);
      high = w + 1;
    }
    low_ = low;
    high_ = std::max(high, low);
  }

  void StepSet(uint32_t block, cells::Record& record) {
    // Bitsets by falling weight.
    const std::atomic<uint64_t>* planes[kHoldings];
    Holding holding[kHoldings];
    int count = 0;
    for (const Holding h : weights_.Order()) {
      for (int p = 0; p < record.planes; ++p) {
        if (record.holding_of[p] != h) continue;
        planes[count] = record.Plane(p);
        holding[count++] = h;
      }
    }
    uint32_t low = high_;
    uint32_t high = low_;
    for (uint32_t w = low_; w < high_; ++w) {
      uint64_t bits[kHoldings];
      uint64_t any = 0;
      for (int p = 0; p < count; ++p) any |= bits[p] = planes[p][w].load();
      if (block == 0) {
        s_.active[w] = any;
        for (uint64_t left = any; left != 0; left &= left - 1) Begin(w * 64 + Lowest(left));
      } else {
        End(w, s_.active[w] & ~any, block);
        s_.active[w] &= any;
      }
      uint64_t left = s_.active[w];
      if (left == 0) continue;
      low = std::min(low, w);
      high = w + 1;
      for (int p = 0; p < count; ++p) {
        const uint64_t here = bits[p] & left;
        left &= ~here;
        for (uint64_t changed = here & ~s_.current[holding[p]][w]; changed != 0; changed &= changed - 1) {
          Note(w * 64 + Lowest(changed), holding[p], block);
        }
      }
    }
    low_ = low;
    high_ = std::max(high, low);
    stamp_shared_ = true;
    shared_stamp_ = record.stamp.load();
  }

  static uint32_t Lowest(uint64_t bits) { return static_cast<uint32_t>(std::countr_zero(bits)); }

  void Begin(uint32_t slot) {
    auto& run = s_.runs[slot];
    if (run.holding != kNone) s_.current[run.holding][slot / 64] &= ~(uint64_t{1} << slot % 64);
    run = {.by_holding = {}, .since = 0, .stamp = 0, .holding = kNone};
  }

  void Note(uint32_t slot, Holding holding, uint32_t block) {
    auto& run = s_.runs[slot];
    if (run.holding == holding) return;
    const uint64_t bit = uint64_t{1} << slot % 64;
    if (run.holding != kNone) {
      run.by_holding[run.holding] += block - run.since;
      s_.current[run.holding][slot / 64] &= ~bit;
    }
    run.holding = holding;
    run.since = block;
    s_.current[holding][slot / 64] |= bit;
  }

  // These slots hold `blocks` blocks and no more.
  void End(uint32_t w, uint64_t slots, uint32_t blocks) {
    for (; slots != 0; slots &= slots - 1) {
      const uint32_t slot = w * 64 + Lowest(slots);
      auto& run = s_.runs[slot];
      run.by_holding[run.holding] += blocks - run.since;
      s_.current[run.holding][w] &= ~(uint64_t{1} << slot % 64);
      run.holding = kNone;
      const uint64_t id = index_.endpoints[slot].id.load();
      if (id == PrefixIndex::Impl::kNobody) continue;
      PrefixMatch& match = out_.matches_.emplace_back();
      match.endpoint = {static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32)};
      match.blocks = blocks;
      match.by_holding = run.by_holding;
      for (Holding h = 0; h < kHoldings; ++h) match.weighted += weights_[h] * static_cast<float>(run.by_holding[h]);
      const uint32_t age = cells::Age(now_, stamp_shared_ ? shared_stamp_ : run.stamp);
      match.age_seconds = std::min(age, cells::kTicksOld) * cells::kTickSeconds;
      match.trust = index_.endpoints[slot].trust.load();
    }
  }

  PrefixIndex::Impl& index_;
  const HoldingWeights& weights_;
  PrefixMatches& out_;
  PrefixMatches::Scratch& s_;
  const uint32_t now_;
  Place places_[kPlaces];
  uint32_t low_ = 0, high_ = 0;  // words of the active set that can have bits
  bool stamp_shared_ = false;    // the last block was a record of bitsets, whose stamp is for all
  uint32_t shared_stamp_ = 0;
};

void PrefixIndex::Lookup(std::span<const uint64_t> chain, const HoldingWeights& weights, PrefixMatches& out) const {
  ShardContext& context = impl_->context;
  // Shown before anything is loaded: what is replaced from now on is kept until the walk has ended.
  out.scratch_->reader->epoch.store(context.epoch.load());
  PrefixWalk(*impl_, weights, out).Run(chain);
  out.scratch_->reader->epoch.store(0);
}

void PrefixIndex::Prefetch(uint64_t key) const {
  // A hint: a table that has been freed meanwhile does no harm.
  const cells::Hash hash(key);
  const cells::Table table = impl_->At(hash).table.load(std::memory_order_relaxed);
  uint32_t first = 0;
  uint32_t second = 0;
  hash.Buckets(table.Buckets(), first, second);
  __builtin_prefetch(table.At(first), 1);
  __builtin_prefetch(table.At(second), 1);
}

}  // namespace sluice::kvindex

// The readers' walk over a chain, as a pipeline: a block's buckets are sent for, some blocks later its cells are read
// and its record is sent for, and some blocks later its holders become the set of endpoints that go on. Endpoints that
// drop out become matches. Sets are bitsets over slots; an endpoint costs something by itself only when it ends or when
// the way it holds blocks changes, so that a thousand endpoints with the same prefix cost a few words a block.
#include <algorithm>
#include <bit>

#include "base/check.h"
#include "kvindex/prefix_index_impl.h"
#include "kvindex/prefix_read.h"

namespace sluice::kvindex {

namespace {

using cells::Bucket;
using cells::Word;

constexpr uint32_t kFetchAhead = 16;  // blocks whose buckets are on their way
constexpr uint32_t kReadAhead = 6;    // blocks whose records are
constexpr uint32_t kPlaces = 32;      // a power of two, more than kFetchAhead

}  // namespace

struct PrefixMatches::Scratch {
  // What a slot held before its current run of blocks with one holding.
  struct Run {
    std::array<uint32_t, kHoldings> by_holding{};
    uint32_t since = 0;  // first block of the current run
  };
  std::vector<Run> runs;                     // by slot; of those that are not plain
  std::vector<uint32_t> stamps;              // by slot: of the last block that was not a record of bitsets
  std::vector<uint64_t> active, next;        // slots that hold everything so far
  std::vector<uint64_t> plain;               // of those, the ones that held it in one way throughout
  std::vector<uint64_t> current[kHoldings];  // of those, the ones whose current run is of this holding
  ShardContext::Reader* reader = nullptr;
};

PrefixMatches::PrefixMatches(const PrefixIndex& index) : scratch_(std::make_unique<Scratch>()) {
  ShardContext& context = index.impl_->context;
  matches_.reserve(index.options().endpoints_max);
  scratch_->runs.resize(size_t{context.row} * 64);
  scratch_->active.resize(context.row);
  scratch_->next.resize(context.row);
  scratch_->plain.resize(context.row);
  scratch_->stamps.resize(size_t{context.row} * 64);
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
    const auto size = static_cast<uint32_t>(chain.size());
    for (uint32_t i = 0; i < std::min(size, kFetchAhead); ++i) Fetch(chain[i], i);
    for (uint32_t i = 0; i < std::min(size, kReadAhead); ++i) Read(i);
    high_ = static_cast<uint32_t>(s_.next.size());
    uint32_t i = 0;
    for (; i < size; ++i) {
      if (i + kFetchAhead < size) Fetch(chain[i + kFetchAhead], i + kFetchAhead);
      if (i + kReadAhead < size) Read(i + kReadAhead);
      if (!Step(i)) break;
    }
    // Those that are left hold every block that was walked.
    for (uint32_t w = low_; w < high_; ++w) {
      End(w, s_.active[w], i);
      s_.active[w] = 0;
    }
  }

 private:
  // Where a key is looked for, and what was found. A table that is replaced meanwhile stays as it was at that moment,
  // which is within this lookup; so the place of a key is found once, when its memory is sent for.
  struct Place {
    uint64_t key;
    const Bucket* buckets[2];
    const Shard* shard;
    cells::Holders holders;
  };

  Place& At(uint32_t block) { return places_[block % kPlaces]; }

  void Fetch(uint64_t key, uint32_t block) {
    const cells::Hash hash(key);
    const uint32_t shard = hash.Shard();
    const cells::Table table = index_.context.tables[shard].load();
    uint32_t first = 0;
    uint32_t second = 0;
    hash.Buckets(table.Buckets(), first, second);
    Place& place = At(block);
    place.key = key;
    place.shard = &index_.shards[shard];
    place.buckets[0] = table.At(first);
    place.buckets[1] = table.At(second);
    __builtin_prefetch(place.buckets[0]);
    __builtin_prefetch(place.buckets[1]);
  }

  void Read(uint32_t block) {
    Place& place = At(block);
    cells::ReadHolders(place.key, place.buckets, place.shard->records, place.holders, [] {});
    if (place.holders.record != nullptr) FetchRecord(place.holders.record);
  }

  static void FetchRecord(const cells::Record* record) {
    const auto* const bytes = reinterpret_cast<const char*>(record);
    for (size_t line = 0; line < 3; ++line) __builtin_prefetch(bytes + line * 64);
  }

  // False when nobody is left.
  bool Step(uint32_t block) {
    const cells::Holders& holders = At(block).holders;
    if (holders.record != nullptr && !holders.record->IsList()) {
      StepSet(block, *holders.record);
      return low_ < high_;
    }
    uint32_t found = 0;
    if (holders.record == nullptr) {
      for (int k = 0; k < holders.count; ++k) found += Holder(block, holders.words[k]);
    } else {
      for (uint32_t k = 0; k < holders.record->capacity; ++k) {
        if (const Word word = holders.record->Words()[k].load()) found += Holder(block, word);
      }
    }
    Advance(block, found);
    stamp_shared_ = false;
    return low_ < high_;
  }

  // Marks a holder that goes on; 1 if it was not marked before.
  uint32_t Holder(uint32_t block, Word word) {
    const uint32_t slot = cells::SlotOf(word);
    const uint32_t w = slot / 64;
    const uint64_t bit = uint64_t{1} << slot % 64;
    if (block > 0 && (s_.active[w] & bit) == 0) return 0;
    const uint32_t first = (s_.next[w] & bit) == 0;
    s_.next[w] |= bit;
    s_.stamps[slot] = cells::StampOf(word);
    const Holding holding = weights_.Best(cells::SetOf(word));
    if (block > 0) {
      if ((s_.current[holding][w] & bit) == 0) Change(slot, holding, block);
    } else if (first != 0) {
      s_.plain[w] |= bit;
      s_.current[holding][w] |= bit;
    }
    return first;
  }

  // Ends those that do not go on, and makes `next` the active set.
  void Advance(uint32_t block, uint32_t found) {
    if (block > 0 && found == alive_) {
      // Everyone goes on, as most blocks have it.
      for (uint32_t w = low_; w < high_; ++w) s_.next[w] = 0;
      return;
    }
    uint32_t low = high_;
    uint32_t high = low_;
    for (uint32_t w = low_; w < high_; ++w) {
      const uint64_t next = s_.next[w];
      s_.next[w] = 0;
      End(w, s_.active[w] & ~next, block);
      s_.active[w] = next;
      if (next == 0) continue;
      low = std::min(low, w);
      high = w + 1;
    }
    low_ = low;
    high_ = std::max(high, low);
    alive_ = found;
  }

  // A record's bitsets by falling weight.
  struct Planes {
    const std::atomic<uint64_t>* bits[kHoldings];
    Holding holding[kHoldings];
    int count = 0;
  };
  Planes Sorted(cells::Record& record) const {
    Planes planes;
    if (std::has_single_bit(record.holdings)) {
      const auto only = static_cast<Holding>(std::countr_zero(record.holdings));
      planes = {.bits = {record.Plane(only)}, .holding = {only}, .count = 1};
      return planes;
    }
    for (const Holding h : weights_.Order()) {
      if ((record.holdings >> h & 1) == 0) continue;
      planes.bits[planes.count] = record.Plane(h);
      planes.holding[planes.count++] = h;
    }
    return planes;
  }

  void StepSet(uint32_t block, cells::Record& record) {
    const Planes planes = Sorted(record);
    if (block == 0) {
      BeginSet(record.row, planes);
    } else if (record.row < high_ || Changes(planes)) {
      AdvanceSet(block, record.row, planes);
    }
    stamp_shared_ = true;
    shared_stamp_ = record.stamp.load();
  }

  // Whether any active slot has left or holds the block in another way than the one before.
  bool Changes(const Planes& planes) const {
    uint64_t changes = 0;
    if (planes.count == 1) {
      const uint64_t* const current = s_.current[planes.holding[0]].data();
      for (uint32_t w = low_; w < high_; ++w) changes |= s_.active[w] & ~(planes.bits[0][w].load() & current[w]);
      return changes != 0;
    }
    for (uint32_t w = low_; w < high_; ++w) {
      uint64_t left = s_.active[w];
      for (int p = 0; p < planes.count; ++p) {
        const uint64_t here = planes.bits[p][w].load() & left;
        left &= ~here;
        changes |= here & ~s_.current[planes.holding[p]][w];
      }
      changes |= left;
    }
    return changes != 0;
  }

  void BeginSet(uint32_t row, const Planes& planes) {
    high_ = std::min(high_, row);
    for (uint32_t w = 0; w < high_; ++w) {
      uint64_t any = 0;
      for (int p = 0; p < planes.count; ++p) {
        const uint64_t bits = planes.bits[p][w].load() & ~any;
        s_.current[planes.holding[p]][w] = bits;
        any |= bits;
      }
      s_.active[w] = s_.plain[w] = any;
      alive_ += static_cast<uint32_t>(std::popcount(any));
    }
    if (alive_ == 0) high_ = 0;
  }

  void AdvanceSet(uint32_t block, uint32_t row, const Planes& planes) {
    uint32_t low = high_;
    uint32_t high = low_;
    alive_ = 0;
    for (uint32_t w = low_; w < high_; ++w) {
      uint64_t left = s_.active[w];
      for (int p = 0; p < planes.count && w < row; ++p) {
        const uint64_t here = planes.bits[p][w].load() & left;
        left &= ~here;
        for (uint64_t changed = here & ~s_.current[planes.holding[p]][w]; changed != 0; changed &= changed - 1) {
          Change(w * 64 + Lowest(changed), planes.holding[p], block);
        }
      }
      End(w, left, block);
      s_.active[w] &= ~left;
      if (s_.active[w] == 0) continue;
      alive_ += static_cast<uint32_t>(std::popcount(s_.active[w]));
      low = std::min(low, w);
      high = w + 1;
    }
    low_ = low;
    high_ = std::max(high, low);
  }

  static uint32_t Lowest(uint64_t bits) { return static_cast<uint32_t>(std::countr_zero(bits)); }

  // From `block` on the slot holds its blocks in another way.
  void Change(uint32_t slot, Holding holding, uint32_t block) {
    const uint32_t w = slot / 64;
    const uint64_t bit = uint64_t{1} << slot % 64;
    auto& run = s_.runs[slot];
    if ((s_.plain[w] & bit) != 0) {
      s_.plain[w] &= ~bit;
      run = {};
    }
    for (Holding h = 0; h < kHoldings; ++h) {
      if ((s_.current[h][w] & bit) == 0) continue;
      s_.current[h][w] &= ~bit;
      run.by_holding[h] += block - run.since;
    }
    s_.current[holding][w] |= bit;
    run.since = block;
  }

  // These slots hold `blocks` blocks and no more.
  void End(uint32_t w, uint64_t slots, uint32_t blocks) {
    if (slots == 0) return;
    for (Holding h = 0; h < kHoldings; ++h) {
      const uint64_t ended = s_.current[h][w] & slots;
      if (ended == 0) continue;
      s_.current[h][w] &= ~ended;
      PrefixMatch match;
      match.blocks = match.by_holding[h] = blocks;
      match.weighted = weights_[h] * static_cast<float>(blocks);
      match.age_seconds = AgeSeconds(shared_stamp_);
      for (uint64_t left = ended & s_.plain[w]; left != 0; left &= left - 1) Emit(w * 64 + Lowest(left), match);
      for (uint64_t left = ended & ~s_.plain[w]; left != 0; left &= left - 1) {
        const uint32_t slot = w * 64 + Lowest(left);
        match.by_holding = s_.runs[slot].by_holding;
        match.by_holding[h] += blocks - s_.runs[slot].since;
        match.weighted = 0;
        for (Holding k = 0; k < kHoldings; ++k) match.weighted += weights_[k] * static_cast<float>(match.by_holding[k]);
        Emit(slot, match);
      }
    }
  }

  void Emit(uint32_t slot, const PrefixMatch& like) {
    const auto& endpoint = index_.endpoints[slot];
    const uint64_t id = endpoint.id.load();
    if (id == PrefixIndex::Impl::kNobody) return;
    out_.matches_.push_back(like);
    PrefixMatch& match = out_.matches_.back();
    match.endpoint = {static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32)};
    if (!stamp_shared_) match.age_seconds = AgeSeconds(s_.stamps[slot]);
    match.trust = endpoint.trust.load();
  }

  uint32_t AgeSeconds(uint32_t stamp) const {
    return std::min(cells::Age(now_, stamp), cells::kTicksOld) * cells::kTickSeconds;
  }

  PrefixIndex::Impl& index_;
  const HoldingWeights& weights_;
  PrefixMatches& out_;
  PrefixMatches::Scratch& s_;
  const uint32_t now_;
  Place places_[kPlaces];
  uint32_t low_ = 0, high_ = 0;  // words of the active set that can have bits
  uint32_t alive_ = 0;           // active slots
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
  const cells::Table table = impl_->context.tables[hash.Shard()].load(std::memory_order_relaxed);
  uint32_t first = 0;
  uint32_t second = 0;
  hash.Buckets(table.Buckets(), first, second);
  __builtin_prefetch(table.At(first), 1);
  __builtin_prefetch(table.At(second), 1);
}

}  // namespace sluice::kvindex

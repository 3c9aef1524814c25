// A reading with writers in between, on one thread and so the same every time: at every place where another thread
// could come in, random additions, removals, moves and purges happen. Whoever held the key throughout must be found,
// and nobody who did not hold it at some moment.
#include "kvindex/prefix_read.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/rng.h"
#include "kvindex/prefix_shard.h"

namespace sluice::kvindex {

// The first half of an addition that finds both its buckets full.
struct ShardProbe {
  static void Move(Shard& shard, cells::Table table, uint32_t bucket) {
    shard.RoomByMoving(table, std::span(&bucket, 1), 1);
  }
};

namespace {

// Few, so that a key comes back to cells in which it was before: they still name it.
constexpr uint32_t kSlots = 4;
constexpr size_t kKeys = 400;

class PrefixRead : public testing::Test {
 protected:
  PrefixRead() {
    shard_.Open(context_, 0);
    while (keys_.size() < kKeys) keys_.push_back(rng_());
  }

  // Who holds the key now.
  uint32_t Of(uint64_t key) const {
    uint32_t set = 0;
    for (uint32_t s = 0; s < kSlots; ++s) {
      if (held_.contains({key, s})) set |= 1u << s;
    }
    return set;
  }

  void Write(uint64_t key) {
    // Mostly one holder or two, which have cells of their own.
    const auto slot = static_cast<uint32_t>((key + rng_.Below(rng_.Below(32) == 0 ? kSlots : 2)) % kSlots);
    if (rng_.Below(100) < (Full() ? 10u : 90u)) {
      shard_.Add(slot, kGpu, key, cells::Hash(key), 0);
      held_.insert({key, slot});
    } else {
      shard_.Remove(slot, 0xff, key, cells::Hash(key));
      held_.erase({key, slot});
    }
  }

  // Near the load at which a newcomer makes residents move, and seldom beyond it.
  bool Full() const {
    const cells::Table table = context_.tables[0].load();
    size_t used = 0;
    for (uint32_t b = 0; b < table.Buckets(); ++b) {
      for (const auto& word : table.At(b)->word) used += word.load() != 0;
    }
    return used * 100 > size_t{table.Buckets()} * cells::kCells * 88;
  }

  uint64_t AnyKey() { return keys_[rng_.Below(keys_.size())]; }

  // One that may live in the same bucket, so that adding it may move the other.
  uint64_t Neighbour(uint64_t key) {
    const uint32_t buckets = context_.tables[0].load().Buckets();
    uint32_t mine[2];
    cells::Hash(key).Buckets(buckets, mine[0], mine[1]);
    for (int i = 0; i < 20; ++i) {
      const uint64_t other = AnyKey();
      uint32_t place[2];
      cells::Hash(other).Buckets(buckets, place[0], place[1]);
      if (place[0] == mine[0] || place[0] == mine[1] || place[1] == mine[0] || place[1] == mine[1]) return other;
    }
    return AnyKey();
  }

  // The slots that a reading of `key` finds; `between` may write.
  template <class Between>
  uint32_t Read(uint64_t key, Between&& between) {
    context_.readers[0].epoch.store(context_.epoch.load());
    const cells::Table table = context_.tables[0].load();
    uint32_t place[2];
    cells::Hash(key).Buckets(table.Buckets(), place[0], place[1]);
    const cells::Bucket* const buckets[2] = {table.At(place[0]), table.At(place[1])};
    cells::Holders holders;
    cells::ReadHolders(key, buckets, shard_.records, holders, between);
    uint32_t found = 0;
    if (holders.record != nullptr) {
      for (uint32_t i = 0; i < holders.record->capacity; ++i) {
        if (const cells::Word word = holders.record->Words()[i].load()) found |= 1u << cells::SlotOf(word);
      }
    } else {
      for (int i = 0; i < holders.count; ++i) found |= 1u << cells::SlotOf(holders.words[i]);
    }
    context_.readers[0].epoch.store(0);
    return found;
  }

  MemoryBudget budget_{8u << 20};
  ShardContext context_{budget_, kSlots, 1};
  Shard shard_;
  Rng rng_{5};
  std::vector<uint64_t> keys_;
  std::set<std::pair<uint64_t, uint32_t>> held_;
};

TEST_F(PrefixRead, WhoHeldTheKeyThroughoutIsFoundAndNobodyWhoNeverDid) {
  for (int i = 0; i < 5000; ++i) Write(AnyKey());
  for (int round = 0; round < 200'000; ++round) {
    const uint64_t key = AnyKey();
    uint32_t always = Of(key);
    uint32_t sometimes = always;
    int writes = 40;  // a reading that is always disturbed gives up
    const uint32_t found = Read(key, [&] {
      for (uint64_t n = rng_.Below(4); n > 1 && writes > 0; --n, --writes) {
        Write(rng_.Below(4) == 0 ? key : Neighbour(key));
        always &= Of(key);
        sometimes |= Of(key);
      }
    });
    ASSERT_EQ(always & ~found, 0u) << "missed, round " << round;
    ASSERT_EQ(found & ~sometimes, 0u) << "invented, round " << round;
  }
}

// The rarest: the key's only cell moves back to where it was before, so that no cell has changed its key when the
// reading ends.
TEST_F(PrefixRead, AKeyThatMovesBackMeanwhileIsFound) {
  int moved = 0;
  for (int round = 0; round < 3'000'000 && moved < 8; ++round) {
    Write(AnyKey());
    const uint64_t key = AnyKey();
    const cells::Table table = context_.tables[0].load();
    uint32_t place[2];
    cells::Hash(key).Buckets(table.Buckets(), place[0], place[1]);
    const auto cells_of = [&](uint32_t bucket, bool live) {
      int count = 0;
      for (int i = 0; i < cells::kCells; ++i) {
        count += table.At(bucket)->key[i].load() == key && (table.At(bucket)->word[i].load() != 0) == live;
      }
      return count;
    };
    if (cells_of(place[0], true) != 0 || cells_of(place[0], false) != 1 || cells_of(place[1], true) != 1) continue;
    const uint32_t holders = Of(key);
    int call = 0;
    const uint32_t found = Read(key, [&] {
      if (++call != 4) return;  // the first bucket has been read
      ShardProbe::Move(shard_, table, place[1]);
      moved += cells_of(place[1], true) == 0 && cells_of(place[0], true) == 1;
    });
    ASSERT_EQ(found, holders);
  }
  EXPECT_EQ(moved, 8);
}

}  // namespace
}  // namespace sluice::kvindex

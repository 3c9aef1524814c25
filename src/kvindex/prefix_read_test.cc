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
namespace {

constexpr uint32_t kSlots = 6;
constexpr size_t kKeys = 500;

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
    const auto slot = static_cast<uint32_t>(rng_.Below(kSlots));
    // Near the load at which a newcomer makes residents move, and seldom beyond it.
    const size_t cells = size_t{context_.tables[0].load().Buckets()} * cells::kCells;
    const bool full = held_.size() * 100 > cells * 75;
    if (rng_.Below(100) < (full ? 30u : 70u)) {
      shard_.Add(slot, kGpu, key, cells::Hash(key), 0);
      held_.insert({key, slot});
    } else {
      shard_.Remove(slot, 0xff, key, cells::Hash(key));
      held_.erase({key, slot});
    }
  }

  uint64_t AnyKey() { return keys_[rng_.Below(keys_.size())]; }

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
        Write(rng_.Below(4) == 0 ? key : AnyKey());
        always &= Of(key);
        sometimes |= Of(key);
      }
    });
    ASSERT_EQ(always & ~found, 0u) << "missed, round " << round;
    ASSERT_EQ(found & ~sometimes, 0u) << "invented, round " << round;
  }
}

}  // namespace
}  // namespace sluice::kvindex

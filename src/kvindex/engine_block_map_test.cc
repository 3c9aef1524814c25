#include "kvindex/engine_block_map.h"

#include <gtest/gtest.h>

#include <unordered_map>

#include "base/rng.h"

namespace sluice::kvindex {
namespace {

constexpr auto kNoAge = [](uint64_t) { return uint64_t{0}; };
constexpr auto kNoEvict = [](uint64_t, uint64_t) { FAIL() << "nothing may leave"; };

TEST(EngineBlockMap, AgreesWithANaiveMap) {
  MemoryBudget budget(64 << 20);
  EngineBlockMap map(budget, 1 << 20);
  std::unordered_map<uint64_t, uint64_t> naive;
  Rng rng(7);
  for (int i = 0; i < 200'000; ++i) {
    const uint64_t hash = rng.Below(20'000);  // 0 among them; dense, so that probes run into each other
    if (rng.Below(3) == 0) {
      map.Erase(hash);
      naive.erase(hash);
    } else {
      ASSERT_TRUE(map.Put(hash, i, kNoAge, kNoEvict));
      naive[hash] = static_cast<uint64_t>(i);
    }
    const uint64_t other = rng.Below(20'000);
    const auto it = naive.find(other);
    ASSERT_EQ(map.Find(other), it == naive.end() ? std::nullopt : std::optional(it->second));
  }
  EXPECT_EQ(map.Entries(), naive.size());
  EXPECT_EQ(budget.Used(), map.Bytes());
  EXPECT_LT(map.Bytes(), naive.size() * 22);
  map.Clear();
  EXPECT_EQ(budget.Used(), 0u);
  EXPECT_FALSE(map.Find(1).has_value());
}

TEST(EngineBlockMap, WithoutMemoryTheOldestOfAFewLeavesAndSaysSo) {
  MemoryBudget budget(4096);
  EngineBlockMap map(budget, 4096);
  std::unordered_map<uint64_t, uint64_t> held;
  Rng rng(3);
  size_t evicted = 0;
  size_t young = 0;
  for (uint64_t i = 1; i <= 20'000; ++i) {
    const uint64_t hash = rng();
    ASSERT_TRUE(map.Put(
        hash, i, [&](uint64_t key) { return i - key; },
        [&](uint64_t gone, uint64_t key) {
          ASSERT_EQ(held.at(gone), key);
          held.erase(gone);
          young += i - key < 30 ? 1 : 0;
          ++evicted;
        }));
    held[hash] = i;
    ASSERT_LE(budget.Used(), 4096u);
  }
  EXPECT_EQ(map.Entries(), held.size());
  for (const auto& [hash, key] : held) EXPECT_EQ(map.Find(hash), key);
  // Chosen at random, two in ten would be among the newest 30.
  EXPECT_GT(map.Entries(), 100u);
  EXPECT_LT(young * 20, evicted);
}

TEST(EngineBlockMap, ALargeMapLeavesTheLastOfTheBudgetToASmallOne) {
  MemoryBudget budget(100'000);
  EngineBlockMap large(budget, 1000);
  for (uint64_t i = 1; i < 20'000; ++i) large.Put(i, i, kNoAge, [](uint64_t, uint64_t) {});
  EXPECT_LE(budget.Used(), 85'000u);
  EngineBlockMap small(budget, 1000);
  for (uint64_t i = 1; i < 50; ++i) ASSERT_TRUE(small.Put(i, i, kNoAge, kNoEvict));
  EXPECT_EQ(small.Entries(), 49u);
}

}  // namespace
}  // namespace sluice::kvindex

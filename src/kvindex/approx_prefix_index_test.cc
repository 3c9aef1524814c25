#include "kvindex/approx_prefix_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <map>
#include <numeric>

#include "base/rng.h"

namespace sluice::kvindex {
namespace {

using model::EndpointId;
constexpr EndpointId kA{0, 1}, kB{1, 1}, kC{2, 1};

std::map<uint32_t, uint32_t> Match(const ApproxPrefixIndex& index, const std::vector<uint64_t>& chain) {
  ApproxMatches matches;
  index.Lookup(chain, matches);
  std::map<uint32_t, uint32_t> by_slot;
  for (const EndpointId id : matches.touched) by_slot[id.slot] = matches.blocks_by_slot[id.slot];
  return by_slot;
}

std::vector<uint32_t> Iota(size_t n) {
  std::vector<uint32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), 0u);
  return tokens;
}

TEST(BlockChain, IsUpstreamsByItsVectors) {
  std::vector<uint64_t> chain;
  AppendBlockChain("m", "", Iota(130), 64, 100, chain);
  EXPECT_EQ(chain, (std::vector<uint64_t>{0x9504d79d090c075d, 0x02e5e0d1ab3a2586, 0x7b0454186e99f289}));
  chain.clear();
  AppendBlockChain("m", "s", Iota(64), 64, 100, chain);
  EXPECT_EQ(chain, (std::vector<uint64_t>{0x9c30552535fc9afe}));
}

TEST(BlockChain, StopsAtTheLimitAndIsEmptyForNothing) {
  std::vector<uint64_t> chain;
  AppendBlockChain("m", "", Iota(1000), 64, 2, chain);
  EXPECT_EQ(chain.size(), 2u);
  chain.clear();
  AppendBlockChain("m", "", {}, 64, 2, chain);
  EXPECT_TRUE(chain.empty());
}

TEST(ApproxPrefixIndex, CountsHoldersAndToleratesHoles) {
  ApproxPrefixIndex index({.entries_max = 100});
  index.Insert(kA, std::vector<uint64_t>{1, 2, 3}, 10);
  index.Insert(kB, std::vector<uint64_t>{1, 9}, 10);
  index.Insert(kC, std::vector<uint64_t>{3}, 10);
  EXPECT_EQ(Match(index, {1, 2, 3, 4}), (std::map<uint32_t, uint32_t>{{0, 3}, {1, 1}, {2, 1}}));
  EXPECT_EQ(Match(index, {7, 1, 2}), (std::map<uint32_t, uint32_t>{}));  // nobody has the first block
}

TEST(ApproxPrefixIndex, CapacityIsHardAndTheTailLeavesFirst) {
  ApproxPrefixIndex index({.entries_max = 100});
  index.Insert(kA, std::vector<uint64_t>{1, 2, 3}, 3);
  EXPECT_EQ(index.EntriesOf(kA), 3u);
  index.Insert(kA, std::vector<uint64_t>{4}, 3);
  EXPECT_EQ(index.EntriesOf(kA), 3u);
  EXPECT_EQ(Match(index, {1, 2, 3}).at(0), 2u);
  index.Insert(kA, std::vector<uint64_t>{5, 6, 7, 8, 9}, 3);  // longer than the capacity: its head stays
  EXPECT_EQ(Match(index, {5, 6, 7, 8, 9}).at(0), 3u);
  index.Insert(kA, std::vector<uint64_t>{5}, 1);  // a lowered capacity evicts
  EXPECT_EQ(index.EntriesOf(kA), 1u);
}

TEST(ApproxPrefixIndex, TheTotalIsHardToo) {
  ApproxPrefixIndex index({.entries_max = 4});
  index.Insert(kA, std::vector<uint64_t>{1, 2, 3}, 10);
  index.Insert(kB, std::vector<uint64_t>{1}, 10);
  index.Insert(kC, std::vector<uint64_t>{8}, 10);  // no room: the largest gives
  EXPECT_EQ(index.entries(), 4u);
  EXPECT_EQ(index.EntriesOf(kA), 2u);
  EXPECT_EQ(index.EntriesOf(kC), 1u);
}

TEST(ApproxPrefixIndex, RemovalFreesAndANewTenantStartsEmpty) {
  ApproxPrefixIndex index({.entries_max = 100});
  index.Insert(kA, std::vector<uint64_t>{1, 2}, 10);
  index.Insert(kB, std::vector<uint64_t>{1, 2}, 10);
  index.Remove(kA);
  EXPECT_EQ(index.entries(), 2u);
  EXPECT_EQ(Match(index, {1, 2}), (std::map<uint32_t, uint32_t>{{1, 2}}));
  index.Insert({1, 2}, std::vector<uint64_t>{2}, 10);  // slot 1 reused
  EXPECT_EQ(Match(index, {1, 2}), (std::map<uint32_t, uint32_t>{}));
  EXPECT_EQ(index.EntriesOf({1, 2}), 1u);
  index.RemoveIf([](EndpointId) { return true; });
  EXPECT_EQ(index.entries(), 0u);
}

// Oracle: a naive list per endpoint, thousands of random operations.
TEST(ApproxPrefixIndex, EqualsANaiveMap) {
  constexpr size_t kCapacity = 20;
  Rng rng(7);
  ApproxPrefixIndex index({.entries_max = 1000});
  std::map<uint32_t, std::list<uint64_t>> naive;  // most recent first
  for (int step = 0; step < 20'000; ++step) {
    const uint32_t slot = static_cast<uint32_t>(rng.Below(5));
    std::vector<uint64_t> chain;
    const uint64_t family = rng.Below(6) * 1000;
    for (uint64_t i = 0; i < 1 + rng.Below(8); ++i) chain.push_back((family + i) * 0x9e3779b97f4a7c15);
    if (rng.Below(50) == 0) {
      index.Remove({slot, 0});
      naive[slot].clear();
    } else if (rng.Below(2) == 0) {
      index.Insert({slot, 0}, chain, kCapacity);
      auto& held = naive[slot];
      for (size_t i = chain.size(); i-- > 0;) {
        held.remove(chain[i]);
        held.push_front(chain[i]);
        if (held.size() > kCapacity) held.pop_back();
      }
    } else {
      std::map<uint32_t, uint32_t> expected;
      for (const uint64_t hash : chain) {
        bool any = false;
        for (const auto& [s, held] : naive) {
          if (std::find(held.begin(), held.end(), hash) == held.end()) continue;
          ++expected[s];
          any = true;
        }
        if (!any) break;
      }
      ASSERT_EQ(Match(index, chain), expected) << "step " << step;
    }
    size_t total = 0;
    for (const auto& [s, held] : naive) total += held.size();
    ASSERT_EQ(index.entries(), total);
  }
}

}  // namespace
}  // namespace sluice::kvindex

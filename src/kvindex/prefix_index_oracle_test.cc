// The index against a naive map: random additions, removals and clears over endpoints, holdings and keys; every lookup
// must give what the map gives, and under a cap never more than the map.
#include <gtest/gtest.h>

#include <map>

#include "base/rng.h"
#include "kvindex/prefix_index.h"

namespace sluice::kvindex {
namespace {

constexpr size_t kKeys = 400;

struct Expected {
  uint32_t blocks = 0;
  std::array<uint32_t, kHoldings> by_holding{};
  bool operator==(const Expected&) const = default;
};

class Naive {
 public:
  void Add(uint32_t e, Holding h, uint64_t key) { sets_[{key, e}] |= static_cast<uint8_t>(1u << h); }
  uint8_t Remove(uint32_t e, uint8_t set, uint64_t key) {
    const auto it = sets_.find({key, e});
    if (it == sets_.end()) return 0;
    it->second &= static_cast<uint8_t>(~set);
    const uint8_t left = it->second;
    if (left == 0) sets_.erase(it);
    return left;
  }
  void RemoveAll(uint32_t e, uint8_t set) {
    for (auto it = sets_.begin(); it != sets_.end();) {
      if (it->first.second == e) it->second &= static_cast<uint8_t>(~set);
      it = it->second == 0 ? sets_.erase(it) : std::next(it);
    }
  }
  uint8_t Set(uint32_t e, uint64_t key) const {
    const auto it = sets_.find({key, e});
    return it == sets_.end() ? 0 : it->second;
  }
  size_t size() const { return sets_.size(); }
  std::map<uint32_t, Expected> Lookup(std::span<const uint64_t> chain, uint32_t endpoints,
                                      const HoldingWeights& weights) const {
    std::map<uint32_t, Expected> out;
    for (uint32_t e = 0; e < endpoints; ++e) {
      Expected expected;
      for (const uint64_t key : chain) {
        const uint8_t set = Set(e, key);
        if (set == 0) break;
        ++expected.blocks;
        ++expected.by_holding[weights.Best(set)];
      }
      if (expected.blocks > 0) out[e] = expected;
    }
    return out;
  }

 private:
  std::map<std::pair<uint64_t, uint32_t>, uint8_t> sets_;
};

class Oracle : public testing::TestWithParam<uint32_t> {};

// Keys are few, so that a key's holders pass from one cell through lists to bitsets and back.
TEST_P(Oracle, EveryLookupEqualsTheNaiveMaps) {
  const uint32_t endpoints = GetParam();
  ManualClock clock;
  PrefixIndex index({.bytes_max = 64u << 20, .endpoints_max = endpoints + 3, .speculative_blocks_max = 1024}, clock);
  std::vector<PrefixIndex::Slot> slots;
  std::vector<uint32_t> generations(endpoints, 7);
  for (uint32_t e = 0; e < endpoints; ++e) slots.push_back(*index.AddEndpoint({e, 7}));
  Naive naive;
  Rng rng(endpoints);
  std::vector<uint64_t> keys;
  for (size_t i = 0; i < kKeys; ++i) keys.push_back(rng());
  keys[3] = 0;
  const HoldingWeights weights({1.0f, 0.8f, 0.5f, 0.2f, 0.9f, 0.4f, 1.0f, 0.3f});
  PrefixMatches matches(index);
  const int steps = endpoints > 200 ? 24'000 : 60'000;
  for (int step = 0; step < steps; ++step) {
    const auto e = static_cast<uint32_t>(rng.Below(endpoints));
    const uint64_t what = rng.Below(100);
    // Phases of growth and of decline.
    const bool grow = step / 6000 % 2 == 0;
    const size_t begin = rng.Below(kKeys);
    const size_t count = std::min(kKeys - begin, 1 + rng.Below(40));
    const auto holding = static_cast<Holding>(rng.Below(10) < 8 ? 0 : rng.Below(kHoldings));
    if (what < (grow ? 60u : 20u)) {
      for (size_t i = begin; i < begin + count; ++i) {
        ASSERT_EQ(index.Add(slots[e], holding, keys[i]), (naive.Set(e, keys[i]) >> holding & 1) != 0
                                                             ? PrefixIndex::Stored::kHeldAlready
                                                             : PrefixIndex::Stored::kNew);
        naive.Add(e, holding, keys[i]);
      }
    } else if (what < 95) {
      const uint8_t set = rng.Below(2) == 0 ? 0xff : static_cast<uint8_t>(1u << holding);
      for (size_t i = begin; i < begin + count; ++i) {
        ASSERT_EQ(index.Remove(slots[e], set, keys[i]), naive.Remove(e, set, keys[i]));
      }
    } else if (what == 95 && step % 5 == 0) {
      // A successor comes while its predecessor's blocks are still being erased.
      index.RemoveEndpoint(slots[e]);
      naive.RemoveAll(e, 0xff);
      auto added = index.AddEndpoint({e, ++generations[e]});
      for (; !added; added = index.AddEndpoint({e, generations[e]})) index.ForgetSome(1 + rng.Below(100));
      slots[e] = *added;
    } else if (what == 95 && step % 5 == 1) {
      index.ForgetHistory({e, generations[e]});
      while (index.ForgetSome(200)) {
      }
      naive.RemoveAll(e, 1u << kHistory);
    } else {
      const std::span<const uint64_t> chain = std::span(keys).subspan(begin, count);
      index.Lookup(chain, weights, matches);
      std::map<uint32_t, Expected> got;
      for (const PrefixMatch& match : matches.All()) {
        ASSERT_EQ(match.endpoint.generation, generations[match.endpoint.slot]);
        ASSERT_TRUE(got.emplace(match.endpoint.slot, Expected{match.blocks, match.by_holding}).second) << "twice";
        float weighted = 0;
        for (Holding h = 0; h < kHoldings; ++h) weighted += weights[h] * static_cast<float>(match.by_holding[h]);
        ASSERT_FLOAT_EQ(match.weighted, weighted);
      }
      ASSERT_EQ(got, naive.Lookup(chain, endpoints, weights)) << "step " << step;
    }
    if (step % 8 == 0) index.ForgetSome(1 + rng.Below(3));
    if (step % 1000 == 0) {
      index.Maintain();
      while (index.ForgetSome(1000)) {
      }
      ASSERT_EQ(index.Read().holders, naive.size());
    }
  }
  for (uint32_t e = 0; e < endpoints; ++e) index.RemoveEndpoint(slots[e]);
  index.Lookup(keys, weights, matches);
  EXPECT_TRUE(matches.All().empty());
  while (index.ForgetSome(1000)) {
  }
  EXPECT_EQ(index.Read().holders, 0u);
  index.Lookup(keys, weights, matches);
  EXPECT_TRUE(matches.All().empty());
}

INSTANTIATE_TEST_SUITE_P(Endpoints, Oracle, testing::Values(1, 3, 20, 200, 700));

// Past its memory the index forgets, but never invents, and never takes a byte more.
TEST(OracleAtTheCap, NothingIsInventedAndTheCapHolds) {
  ManualClock clock;
  const size_t cap = PrefixIndex::kBytesMin + 64 * 28;
  PrefixIndex index({.bytes_max = cap, .endpoints_max = 100, .readers_max = 2, .speculative_blocks_max = 64}, clock);
  std::vector<PrefixIndex::Slot> slots;
  for (uint32_t e = 0; e < 100; ++e) slots.push_back(*index.AddEndpoint({e, 0}));
  Naive naive;
  Rng rng(9);
  std::vector<uint64_t> keys;
  for (int i = 0; i < 50'000; ++i) keys.push_back(rng());
  PrefixMatches matches(index);
  const HoldingWeights weights;
  for (int step = 0; step < 4000; ++step) {
    const auto e = static_cast<uint32_t>(rng.Below(100));
    const size_t begin = rng.Below(5) == 0 ? rng.Below(20) : rng.Below(keys.size() - 200);
    for (size_t i = begin; i < begin + 100; ++i) {
      index.Add(slots[e], kGpu, keys[i]);
      naive.Add(e, kGpu, keys[i]);
      ASSERT_LE(index.Read().bytes, cap);
    }
    const std::span<const uint64_t> chain = std::span(keys).subspan(begin, 100);
    index.Lookup(chain, weights, matches);
    const auto most = naive.Lookup(chain, 100, weights);
    for (const PrefixMatch& match : matches.All()) {
      ASSERT_LE(match.blocks, most.at(match.endpoint.slot).blocks);
    }
    clock.Advance(std::chrono::seconds(1));
  }
  EXPECT_GT(index.Read().evicted, 100'000u);
  EXPECT_GT(index.Read().holders, 20'000u);
}

}  // namespace
}  // namespace sluice::kvindex

#include "kvindex/prefix_index.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace sluice::kvindex {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

void ForgetAll(PrefixIndex& index) {
  while (index.ForgetSome(1000)) {
  }
}

class PrefixIndexTest : public testing::Test {
 protected:
  PrefixIndexTest() : index_({.bytes_max = 32u << 20, .endpoints_max = 100, .speculative_blocks_max = 300}, clock_) {
    Rng rng(1);
    for (int i = 0; i < 200; ++i) chain_.push_back(rng());
  }
  PrefixIndex::Slot Join(uint32_t e) { return *index_.AddEndpoint({e, 1}); }
  void Add(PrefixIndex::Slot slot, Holding holding, size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) index_.Add(slot, holding, chain_[i]);
  }
  PrefixMatch Of(uint32_t e, const HoldingWeights& weights = {}) {
    index_.Lookup(chain_, weights, matches_);
    const PrefixMatch* match = matches_.Find({e, 1});
    return match == nullptr ? PrefixMatch{} : *match;
  }

  ManualClock clock_;
  PrefixIndex index_;
  PrefixMatches matches_{index_};
  std::vector<uint64_t> chain_;
};

TEST_F(PrefixIndexTest, LeadingBlocksWeighWhatTheirBestTierWeighs) {
  const auto a = Join(1);
  Add(a, kGpu, 0, 4);
  Add(a, kCpu, 2, 7);
  Add(a, kGpu, 8, 20);  // behind a hole
  const PrefixMatch match = Of(1);
  EXPECT_EQ(match.blocks, 7u);
  EXPECT_FLOAT_EQ(match.weighted, 4 * 1.0f + 3 * 0.8f);
  EXPECT_EQ(match.by_holding[kGpu], 4u);
  EXPECT_EQ(match.by_holding[kCpu], 3u);
  EXPECT_FLOAT_EQ(Of(1, HoldingWeights({0.1f, 1, 1, 1, 1, 1, 1, 1})).weighted, 2 * 0.1f + 5 * 1.0f);
  EXPECT_FALSE(match.Unconfirmed());
}

TEST_F(PrefixIndexTest, SpeculationEndsUnlessAnEventConfirmsIt) {
  const auto a = Join(1);
  index_.SpeculativeInsert({1, 1}, std::span(chain_).first(10));
  index_.SpeculativeInsert({9, 1}, chain_);  // not an endpoint
  EXPECT_EQ(Of(1).by_holding[kSpeculative], 10u);
  EXPECT_TRUE(Of(1).Unconfirmed());
  Add(a, kGpu, 0, 6);
  EXPECT_EQ(Of(1).by_holding[kGpu], 6u) << "what an event says comes before a presumption of the same weight";
  clock_.Advance(milliseconds(1999));
  index_.Maintain();
  EXPECT_EQ(Of(1).blocks, 10u);
  clock_.Advance(milliseconds(1));
  index_.Maintain();
  EXPECT_EQ(Of(1).blocks, 6u);
  EXPECT_FALSE(Of(1).Unconfirmed());
}

TEST_F(PrefixIndexTest, ASecondSpeculationLastsFromItsOwnTime) {
  Join(1);
  index_.SpeculativeInsert({1, 1}, std::span(chain_).first(10));
  clock_.Advance(milliseconds(1500));
  index_.SpeculativeInsert({1, 1}, std::span(chain_).first(4));
  clock_.Advance(milliseconds(1000));
  index_.Maintain();
  EXPECT_EQ(Of(1).blocks, 4u);
  clock_.Advance(milliseconds(1000));
  index_.Maintain();
  EXPECT_EQ(Of(1).blocks, 0u);
}

TEST_F(PrefixIndexTest, TooManySpeculationsEndTheOldestEarlyAndAreCounted) {
  Join(1);
  Join(2);
  index_.SpeculativeInsert({1, 1}, chain_);
  index_.SpeculativeInsert({2, 1}, chain_);  // 400 with room for 300
  EXPECT_EQ(index_.Read().speculations_cut, 100u);
  EXPECT_EQ(index_.Read().holders, 300u);
  EXPECT_EQ(Of(2).blocks, 200u);
  EXPECT_EQ(Of(1).blocks, 0u);
}

TEST_F(PrefixIndexTest, HistoryStaysAndIsUnconfirmed) {
  Join(1);
  index_.InsertHistory({1, 1}, std::span(chain_).first(5));
  clock_.Advance(seconds(100));
  index_.Maintain();
  EXPECT_EQ(Of(1).by_holding[kHistory], 5u);
  EXPECT_TRUE(Of(1).Unconfirmed());
  EXPECT_EQ(Of(1).trust, Trust::kNotConnected);
}

TEST_F(PrefixIndexTest, AgeIsSinceTheDeepestBlockWasUsed) {
  const auto a = Join(1);
  Add(a, kGpu, 0, 3);
  clock_.Advance(seconds(40));
  Add(a, kGpu, 0, 2);
  EXPECT_EQ(Of(1).age_seconds, 40u);
  index_.Touch({1, 1}, std::span(chain_).first(3));
  EXPECT_EQ(Of(1).age_seconds, 0u);
  // Ages end at 2,048 s and do not wrap, if upkeep runs.
  for (int i = 0; i < 6000; ++i) {
    clock_.Advance(seconds(1));
    index_.Maintain();
  }
  EXPECT_EQ(Of(1).age_seconds, 2048u);
}

TEST_F(PrefixIndexTest, AnEndpointThatLeftIsGoneAndItsSuccessorStartsEmpty) {
  const auto a = Join(1);
  Add(a, kGpu, 0, 50);
  index_.SpeculativeInsert({1, 1}, chain_);
  index_.InsertHistory({1, 1}, std::span(chain_).first(70));
  index_.SetTrust(a, Trust::kExact);
  EXPECT_EQ(index_.TrustOf({1, 1}), Trust::kExact);
  index_.RemoveEndpoint(a);
  EXPECT_EQ(index_.TrustOf({1, 1}), Trust::kNoEvents);
  EXPECT_EQ(Of(1).blocks, 0u) << "at once, though its blocks are erased later";
  EXPECT_EQ(index_.Read().leaving, 1u);
  ForgetAll(index_);
  EXPECT_EQ(index_.HoldersOf(a), 0u);
  EXPECT_EQ(index_.Read().holders, 0u);
  EXPECT_EQ(index_.Read().leaving, 0u);
  ASSERT_TRUE(index_.AddEndpoint({1, 2}).has_value());
  index_.SpeculativeInsert({1, 1}, chain_);  // the old generation
  index_.Lookup(chain_, {}, matches_);
  EXPECT_TRUE(matches_.All().empty());
  EXPECT_EQ(index_.TrustOf({1, 2}), Trust::kNotConnected);
}

TEST_F(PrefixIndexTest, ForgettingIsDoneInStepsAndASlotIsFreeAfterTheLast) {
  ManualClock clock;
  PrefixIndex index({.bytes_max = 8u << 20, .endpoints_max = 2, .readers_max = 1, .speculative_blocks_max = 64}, clock);
  const auto a = *index.AddEndpoint({1, 1});
  const auto b = *index.AddEndpoint({2, 1});
  Rng rng(8);
  for (int i = 0; i < 50'000; ++i) {
    const uint64_t key = rng();
    index.Add(a, kGpu, key);
    if (i % 2 == 0) index.Add(b, kGpu, key);
  }
  index.RemoveEndpoint(a);
  int steps = 0;
  uint32_t left = index.HoldersOf(a);
  while (true) {
    EXPECT_FALSE(index.AddEndpoint({3, 1}).has_value()) << "its slot still has blocks";
    const bool more = index.ForgetSome(500);
    ++steps;
    EXPECT_LE(left - index.HoldersOf(a), 500u * 5) << "a step is bounded";
    left = index.HoldersOf(a);
    if (!more) break;
  }
  EXPECT_GT(steps, 20);
  EXPECT_EQ(left, 0u);
  EXPECT_EQ(index.HoldersOf(b), 25'000u);
  EXPECT_TRUE(index.AddEndpoint({3, 1}).has_value());
}

TEST_F(PrefixIndexTest, HistoryCanBeForgottenAlone) {
  const auto a = Join(1);
  Join(2);
  Add(a, kGpu, 0, 5);
  index_.InsertHistory({1, 1}, std::span(chain_).first(9));
  index_.InsertHistory({2, 1}, std::span(chain_).first(9));
  index_.ForgetHistory({1, 1});
  ForgetAll(index_);
  EXPECT_EQ(Of(1).blocks, 5u);
  EXPECT_EQ(Of(2).blocks, 9u);
  index_.InsertHistory({1, 1}, std::span(chain_).first(9));
  ForgetAll(index_);
  EXPECT_EQ(Of(1).blocks, 9u) << "what comes later is not void";
}

TEST_F(PrefixIndexTest, AHiddenEndpointIsUnknownAtOnce) {
  const auto a = Join(1);
  Add(a, kGpu, 0, 5);
  index_.HideEndpoint({1, 1});
  EXPECT_EQ(Of(1).blocks, 0u);
  EXPECT_EQ(index_.TrustOf({1, 1}), Trust::kNoEvents);
  index_.SpeculativeInsert({1, 1}, chain_);
  EXPECT_EQ(index_.Read().holders, 5u);
  Add(a, kGpu, 5, 6);  // its events go on until their thread hears of it
  index_.RemoveEndpoint(a);
  ForgetAll(index_);
  EXPECT_EQ(index_.Read().holders, 0u);
}

TEST_F(PrefixIndexTest, OneEndpointTooManyIsAnError) {
  for (uint32_t e = 0; e < 100; ++e) ASSERT_TRUE(index_.AddEndpoint({e, 1}).has_value());
  const auto more = index_.AddEndpoint({100, 1});
  ASSERT_FALSE(more.has_value());
  EXPECT_EQ(more.error().code, Code::kResourceExhausted);
  EXPECT_TRUE(index_.AddEndpoint({5, 1}).has_value()) << "one that is there";
}

TEST_F(PrefixIndexTest, TiersByName) {
  EXPECT_EQ(index_.Tier(""), kGpu);
  EXPECT_EQ(index_.Tier("GPU"), kGpu);
  EXPECT_EQ(index_.Tier("CPU_PINNED"), kCpu);
  EXPECT_EQ(index_.Tier("OBJ"), kShared);
  EXPECT_EQ(index_.Tier("nvme0"), 4);
  EXPECT_EQ(index_.Tier("tape"), 5);
  EXPECT_EQ(index_.Tier("NVME0"), 4);
  EXPECT_EQ(index_.Tier("drum"), 5) << "beyond six they share the last";
  EXPECT_EQ(index_.HoldingName(4), "nvme0");
  EXPECT_EQ(index_.HoldingName(kSpeculative), "speculative");
}

// kv-cache.md, trap 28: upstream forgets holders beyond ten.
TEST_F(PrefixIndexTest, Trap28AHundredHoldersOfOneKeyAreAllKnown) {
  for (uint32_t e = 0; e < 100; ++e) Add(Join(e), kGpu, 0, 3);
  index_.Lookup(chain_, {}, matches_);
  EXPECT_EQ(matches_.All().size(), 100u);
  for (const PrefixMatch& match : matches_.All()) EXPECT_EQ(match.blocks, 3u);
}

// Trap 29: upstream truncates the weighted score; here it stays a fraction.
TEST_F(PrefixIndexTest, Trap29WeightsAreNotTruncated) {
  Add(Join(1), kCpu, 0, 3);
  EXPECT_FLOAT_EQ(Of(1).weighted, 2.4f);
}

TEST(PrefixIndexMemory, ARemovedEndpointsMemoryServesOthers) {
  ManualClock clock;
  PrefixIndex index({.bytes_max = 2u << 20, .endpoints_max = 4, .readers_max = 1, .speculative_blocks_max = 64}, clock);
  Rng rng(3);
  const auto first = *index.AddEndpoint({1, 1});
  for (int i = 0; i < 90'000; ++i) index.Add(first, kGpu, rng());
  EXPECT_EQ(index.Read().evicted, 0u);
  index.RemoveEndpoint(first);
  ForgetAll(index);
  const auto second = *index.AddEndpoint({2, 1});
  for (int i = 0; i < 90'000; ++i) index.Add(second, kGpu, rng());
  EXPECT_EQ(index.Read().evicted, 0u);
  EXPECT_EQ(index.HoldersOf(second), 90'000u);
}

TEST(PrefixIndexMemory, TheLeastRecentlyUsedLeaveFirst) {
  ManualClock clock;
  PrefixIndex index({.bytes_max = 2u << 20, .endpoints_max = 4, .readers_max = 1, .speculative_blocks_max = 64}, clock);
  Rng rng(3);
  const auto slot = *index.AddEndpoint({1, 1});
  std::vector<uint64_t> kept, left;
  for (int i = 0; i < 40'000; ++i) {
    kept.push_back(rng());
    left.push_back(rng());
    index.Add(slot, kGpu, left.back());
    index.Add(slot, kGpu, kept.back());
  }
  clock.Advance(seconds(60));
  index.Touch({1, 1}, kept);
  clock.Advance(seconds(60));
  for (int i = 0; i < 68'000; ++i) index.Add(slot, kGpu, rng());
  const auto there = [&](const std::vector<uint64_t>& keys) {
    return std::count_if(keys.begin(), keys.end(),
                         [&](uint64_t key) { return index.AgeSeconds(slot, key).has_value(); });
  };
  EXPECT_GT(index.Read().evicted, 10'000u);
  EXPECT_GT(there(kept), 39'000);
  EXPECT_LT(there(left), 33'000);
}

}  // namespace
}  // namespace sluice::kvindex

#include "worker/engine/block_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <map>
#include <optional>

#include "base/rng.h"

namespace sluice::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

kvindex::BlockDigest D(uint64_t n) {
  kvindex::BlockDigest d;
  d.size = 32;
  std::memcpy(d.bytes.data(), &n, sizeof(n));
  return d;
}

std::vector<kvindex::BlockDigest> Chain(std::initializer_list<uint64_t> ns) {
  std::vector<kvindex::BlockDigest> out;
  for (auto n : ns) out.push_back(D(n));
  return out;
}

// A request that computes `chain` and ends.
std::vector<BlockId> Compute(BlockPool& pool, const std::vector<kvindex::BlockDigest>& chain) {
  std::vector<BlockId> blocks;
  EXPECT_TRUE(pool.Allocate(static_cast<int>(chain.size()), blocks));
  for (size_t i = 0; i < chain.size(); ++i) pool.Register(blocks[i], chain[i], static_cast<int>(i));
  pool.Free(blocks);
  return blocks;
}

TEST(BlockPool, FindsTheLongestCachedPrefix) {
  BlockPool pool({.num_blocks = 8});
  const auto blocks = Compute(pool, Chain({1, 2, 3}));
  EXPECT_EQ(pool.Lookup(Chain({1, 2, 3})), blocks);
  EXPECT_THAT(pool.Lookup(Chain({1, 2, 9, 3})), ElementsAre(blocks[0], blocks[1]));
  EXPECT_THAT(pool.Lookup(Chain({2, 3})), ElementsAre(blocks[1], blocks[2])) << "a digest names its whole chain";
  EXPECT_THAT(pool.Lookup(Chain({7})), IsEmpty());
}

TEST(BlockPool, TailIsEvictedBeforeItsPrefixAndOldRequestsFirst) {
  BlockPool pool({.num_blocks = 6});
  Compute(pool, Chain({1, 2, 3}));
  Compute(pool, Chain({11, 12, 13}));
  std::vector<BlockId> taken;
  ASSERT_TRUE(pool.Allocate(2, taken));
  auto removed = pool.TakeRemoved();
  ASSERT_EQ(removed.size(), 2U);
  EXPECT_EQ(removed[0].digest, D(3));
  EXPECT_EQ(removed[0].depth, 2);
  EXPECT_EQ(removed[1].digest, D(2));
  EXPECT_THAT(pool.TakeRemoved(), IsEmpty());
  EXPECT_EQ(pool.Lookup(Chain({1, 2, 3})).size(), 1U);
  EXPECT_EQ(pool.Lookup(Chain({11, 12, 13})).size(), 3U);
}

TEST(BlockPool, TouchedBlocksAreNotEvicted) {
  BlockPool pool({.num_blocks = 3});
  const auto blocks = Compute(pool, Chain({1, 2}));
  pool.Touch(blocks);
  EXPECT_EQ(pool.NumFree(), 1);
  EXPECT_DOUBLE_EQ(pool.Usage(), 2.0 / 3);
  std::vector<BlockId> taken;
  EXPECT_FALSE(pool.Allocate(2, taken));
  EXPECT_THAT(taken, IsEmpty());
  EXPECT_TRUE(pool.Allocate(1, taken));
  EXPECT_EQ(pool.Lookup(Chain({1, 2})).size(), 2U);
  pool.Free(blocks);
  EXPECT_EQ(pool.NumFree(), 2);
}

TEST(BlockPool, BlockWithTwoUsersStaysUntilBothLeave) {
  BlockPool pool({.num_blocks = 2});
  const auto blocks = Compute(pool, Chain({1}));
  pool.Touch(blocks);
  pool.Touch(blocks);
  EXPECT_EQ(pool.CountFree(blocks), 0);
  pool.Free(blocks);
  EXPECT_EQ(pool.NumFree(), 1);
  pool.Free(blocks);
  EXPECT_EQ(pool.NumFree(), 2);
}

TEST(BlockPool, UncachedBlocksAreTakenBeforeCachedOnes) {
  BlockPool pool({.num_blocks = 4});
  Compute(pool, Chain({1, 2}));
  std::vector<BlockId> plain;
  ASSERT_TRUE(pool.Allocate(2, plain));
  pool.Free(plain);
  std::vector<BlockId> again;
  ASSERT_TRUE(pool.Allocate(2, again));
  EXPECT_THAT(pool.TakeRemoved(), IsEmpty());
}

TEST(BlockPool, SameContentIsCachedOnce) {
  BlockPool pool({.num_blocks = 4});
  std::vector<BlockId> a, b;
  ASSERT_TRUE(pool.Allocate(1, a));
  ASSERT_TRUE(pool.Allocate(1, b));
  EXPECT_TRUE(pool.Register(a[0], D(1), 0));
  EXPECT_FALSE(pool.Register(b[0], D(1), 0));
  EXPECT_EQ(pool.NumCached(), 1);
}

TEST(BlockPool, ResetOnlyWhenNothingRuns) {
  BlockPool pool({.num_blocks = 4});
  const auto blocks = Compute(pool, Chain({1, 2}));
  pool.Touch(blocks);
  EXPECT_FALSE(pool.Reset());
  EXPECT_EQ(pool.Lookup(Chain({1, 2})).size(), 2U);
  pool.Free(blocks);
  EXPECT_TRUE(pool.Reset());
  EXPECT_THAT(pool.Lookup(Chain({1, 2})), IsEmpty());
  EXPECT_EQ(pool.TakeRemoved().size(), 2U);
}

TEST(BlockPool, CachingOffFindsNothing) {
  BlockPool pool({.num_blocks = 4, .caching = false});
  Compute(pool, Chain({1, 2}));
  EXPECT_THAT(pool.Lookup(Chain({1, 2})), IsEmpty());
}

TEST(BlockPool, DepthLimitEvictsTheOldestAtThatDepth) {
  BlockPool pool({.num_blocks = 10, .cached_per_depth_max = 2});
  Compute(pool, Chain({1, 2}));
  Compute(pool, Chain({11}));
  Compute(pool, Chain({21}));  // a third at depth 0
  EXPECT_THAT(pool.Lookup(Chain({1})), IsEmpty());
  EXPECT_EQ(pool.Lookup(Chain({2})).size(), 1U) << "depth 1 had room";
  EXPECT_EQ(pool.Lookup(Chain({11})).size(), 1U);
  EXPECT_EQ(pool.Lookup(Chain({21})).size(), 1U);
  EXPECT_EQ(pool.TakeRemoved().size(), 1U);
}

TEST(BlockPool, DepthLimitDoesNotEvictWhatIsInUse) {
  BlockPool pool({.num_blocks = 10, .cached_per_depth_max = 1});
  const auto used = Compute(pool, Chain({1}));
  pool.Touch(used);
  std::vector<BlockId> other;
  ASSERT_TRUE(pool.Allocate(1, other));
  EXPECT_FALSE(pool.Register(other[0], D(11), 0));
  EXPECT_EQ(pool.Lookup(Chain({1})).size(), 1U);
}

// The pool against a naive one: lists and maps, searched from the front.
class NaivePool {
 public:
  NaivePool(int blocks, int per_depth) : per_depth_(per_depth) {
    for (int i = 0; i < blocks; ++i) free_.push_back(i);
  }
  bool Allocate(int n, std::vector<BlockId>& out) {
    if (static_cast<int>(free_.size()) < n) return false;
    for (; n > 0; --n) {
      const BlockId id = free_.front();
      free_.pop_front();
      cached_.erase(id);
      users_[id] = 1;
      out.push_back(id);
    }
    return true;
  }
  void Touch(const std::vector<BlockId>& ids) {
    for (BlockId id : ids) {
      if (users_[id]++ == 0) free_.remove(id);
    }
  }
  void Free(const std::vector<BlockId>& ids) {
    for (size_t i = ids.size(); i-- > 0;) {
      if (--users_[ids[i]] > 0) continue;
      if (cached_.contains(ids[i])) {
        free_.push_back(ids[i]);
      } else {
        free_.push_front(ids[i]);
      }
    }
  }
  std::optional<BlockId> Find(uint64_t n) const {
    for (const auto& [id, entry] : cached_) {
      if (entry.first == n) return id;
    }
    return std::nullopt;
  }
  bool Register(BlockId id, uint64_t n, int depth) {
    if (Find(n)) return false;
    const auto at_depth =
        std::count_if(cached_.begin(), cached_.end(), [&](auto& c) { return c.second.second == depth; });
    if (at_depth >= per_depth_) {
      const auto victim = std::find_if(free_.begin(), free_.end(),
                                       [&](BlockId f) { return cached_.contains(f) && cached_.at(f).second == depth; });
      if (victim == free_.end()) return false;
      const BlockId v = *victim;
      free_.erase(victim);
      free_.push_front(v);
      cached_.erase(v);
    }
    cached_[id] = {n, depth};
    return true;
  }
  size_t NumFree() const { return free_.size(); }
  std::vector<BlockId> Lookup(const std::vector<uint64_t>& chain) const {
    std::vector<BlockId> out;
    for (uint64_t n : chain) {
      const auto id = Find(n);
      if (!id) break;
      out.push_back(*id);
    }
    return out;
  }

 private:
  int per_depth_;
  std::list<BlockId> free_;
  std::map<BlockId, int> users_;
  std::map<BlockId, std::pair<uint64_t, int>> cached_;
};

TEST(BlockPool, AgreesWithANaivePool) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    const int per_depth = 2 + static_cast<int>(rng.Below(6));
    BlockPool pool({.num_blocks = 24, .cached_per_depth_max = per_depth});
    NaivePool naive(24, per_depth);
    std::list<std::vector<BlockId>> requests;
    for (int step = 0; step < 2000; ++step) {
      if (rng.Below(2) == 0 || requests.empty()) {
        // A request whose chain is a path in a small tree, so that prefixes are shared.
        std::vector<uint64_t> chain;
        uint64_t node = 1;
        for (uint64_t n = 1 + rng.Below(6); n > 0; --n) chain.push_back(node = node * 3 + rng.Below(3));
        std::vector<kvindex::BlockDigest> digests;
        for (uint64_t n : chain) digests.push_back(D(n));
        auto mine = pool.Lookup(digests);
        ASSERT_EQ(mine, naive.Lookup(chain)) << "seed " << seed << " step " << step;
        auto other = mine;
        pool.Touch(mine);
        naive.Touch(other);
        const size_t cached = mine.size();
        const int missing = static_cast<int>(chain.size() - cached);
        ASSERT_EQ(pool.Allocate(missing, mine), naive.Allocate(missing, other)) << "seed " << seed;
        ASSERT_EQ(mine, other) << "seed " << seed << " step " << step;
        if (mine.size() == chain.size()) {
          for (size_t d = cached; d < chain.size(); ++d) {
            ASSERT_EQ(pool.Register(mine[d], digests[d], static_cast<int>(d)),
                      naive.Register(mine[d], chain[d], static_cast<int>(d)));
          }
        }
        requests.push_back(mine);
      } else {
        auto it = requests.begin();
        std::advance(it, rng.Below(requests.size()));
        pool.Free(*it);
        naive.Free(*it);
        requests.erase(it);
      }
      ASSERT_EQ(static_cast<size_t>(pool.NumFree()), naive.NumFree()) << "seed " << seed << " step " << step;
    }
  }
}

}  // namespace
}  // namespace sluice::worker

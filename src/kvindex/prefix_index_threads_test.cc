// Readers beside writers. Endpoint 0 holds the whole chain throughout, so a lookup that says less has missed a holder
// while something moved; the others come and go. Meant for the thread sanitizer as well.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/rng.h"
#include "kvindex/prefix_index.h"

namespace sluice::kvindex {
namespace {

TEST(PrefixIndexThreads, AReaderNeverMissesWhatIsHeldThroughout) {
  SystemClock clock;
  PrefixIndex index({.bytes_max = 256u << 20, .endpoints_max = 64, .speculative_blocks_max = 256}, clock);
  constexpr size_t kChain = 200;
  Rng seed(1);
  std::vector<uint64_t> chain;
  for (size_t i = 0; i < kChain; ++i) chain.push_back(seed());
  std::vector<PrefixIndex::Slot> slots;
  for (uint32_t e = 0; e < 42; ++e) slots.push_back(*index.AddEndpoint({e, 1}));
  for (const uint64_t key : chain) index.Add(slots[0], kGpu, key);
  std::atomic<bool> stop{false};
  std::atomic<int> passes{0};
  std::vector<std::thread> threads;
  for (uint32_t owner = 0; owner < 2; ++owner) {
    threads.emplace_back([&, owner] {
      Rng rng(owner + 10);
      while (!stop.load()) {
        // Other endpoints take and leave the same keys (cells become records and back), each so many of them, and keys
        // of their own (tables grow).
        for (uint32_t e = 1 + owner; e < 40; e += 2) {
          for (const uint64_t key : std::span(chain).first(kChain - e))
            index.Add(slots[e], static_cast<Holding>(rng.Below(3)), key);
        }
        for (int i = 0; i < 2000; ++i) index.Add(slots[40 + owner], kGpu, rng());
        for (uint32_t e = 1 + owner; e < 40; e += 2) {
          for (const uint64_t key : chain) index.Remove(slots[e], kEventHoldings, key);
        }
        passes.fetch_add(1);
      }
    });
  }
  threads.emplace_back([&] {
    // An endpoint that comes and goes, with speculation.
    for (uint32_t generation = 1; !stop.load(); ++generation) {
      auto slot = index.AddEndpoint({50, generation});
      // Slots are free again when the lookups of now have ended.
      while (!slot && !stop.load()) slot = index.AddEndpoint({50, generation});
      if (!slot) break;
      index.SpeculativeInsert({50, generation}, std::span(chain).first(50));
      index.Touch({0, 1}, chain);
      // Some stay for the walk to find.
      for (size_t i = 0; i < 50 && generation % 4 == 0; ++i) index.Add(*slot, kGpu, chain[i]);
      index.RemoveEndpoint(*slot);
      index.Maintain();
    }
  });
  for (int reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&] {
      PrefixMatches matches(index);
      const HoldingWeights weights;
      while (!stop.load()) {
        index.Lookup(chain, weights, matches);
        const PrefixMatch* match = matches.Find({0, 1});
        ASSERT_NE(match, nullptr);
        ASSERT_EQ(match->blocks, kChain);
        ASSERT_EQ(match->by_holding[kGpu], kChain);
        for (const PrefixMatch& other : matches.All()) {
          const uint32_t e = other.endpoint.slot;
          ASSERT_LE(other.blocks, e == 50 ? 50 : kChain - e);
          ASSERT_NE(e, 40u) << "it holds other keys";
          ASSERT_NE(e, 41u);
          uint32_t blocks = 0;
          for (const uint32_t count : other.by_holding) blocks += count;
          ASSERT_EQ(blocks, other.blocks);
        }
      }
    });
  }
  while (passes.load() < 24) std::this_thread::yield();
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace sluice::kvindex

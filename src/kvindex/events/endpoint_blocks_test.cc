// Events as values against what the index then says. The requests' side is BlockKeys::AppendChain throughout: an event
// is right when a request for the same tokens finds it.
#include "kvindex/events/endpoint_blocks.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <numeric>

#include "base/rng.h"

namespace sluice::kvindex {
namespace {

std::vector<uint32_t> Tokens(uint32_t first, size_t count) {
  std::vector<uint32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class Blocks : public testing::Test {
 protected:
  void Open(uint32_t block_size, size_t bytes_max = 16u << 20) {
    endpoint_.reset();
    matches_.reset();
    keys_ = std::make_unique<BlockKeys>(
        BlockKeys::Options{.algorithm = KeyAlgorithm::kXxh64, .block_size_tokens = block_size});
    index_ = std::make_unique<PrefixIndex>(
        PrefixIndex::Options{
            .bytes_max = bytes_max, .endpoints_max = 4, .readers_max = 2, .speculative_blocks_max = 64},
        clock_);
    matches_ = std::make_unique<PrefixMatches>(*index_);
    slot_ = *index_->AddEndpoint({1, 1});
    endpoint_ = std::make_unique<EndpointBlocks>(*index_, slot_, *keys_, 1 << 20);
    endpoint_->SetModel("model");
  }
  void SetUp() override { Open(4); }
  ~Blocks() override {
    endpoint_.reset();
    matches_.reset();
  }

  static DecodedEvent Stored(std::span<const uint64_t> hashes, std::optional<uint64_t> parent,
                             std::span<const uint32_t> tokens, int64_t block_size) {
    DecodedEvent event;
    event.type = DecodedEvent::Type::kStored;
    event.hashes = hashes;
    event.parent = parent;
    event.tokens = tokens;
    event.block_size = block_size;
    return event;
  }
  void Store(std::vector<uint64_t> hashes, std::optional<uint64_t> parent, const std::vector<uint32_t>& tokens,
             int64_t block_size, std::string_view medium = "GPU") {
    DecodedEvent event = Stored(hashes, parent, tokens, block_size);
    event.medium = medium;
    endpoint_->OnEvent(event);
  }
  void Remove(std::vector<uint64_t> hashes, std::string_view medium = "GPU", std::optional<uint32_t> group = {}) {
    DecodedEvent event;
    event.type = DecodedEvent::Type::kRemoved;
    event.hashes = hashes;
    event.medium = medium;
    event.group = group;
    endpoint_->OnEvent(event);
  }
  void ClearAll() { endpoint_->OnEvent(DecodedEvent{}); }
  PrefixMatch Ask(std::span<const uint32_t> tokens, std::string_view model = "model", const PromptExtras& extras = {}) {
    std::vector<uint64_t> chain;
    keys_->AppendChain(model, tokens, extras, 1000, chain);
    index_->Lookup(chain, {}, *matches_);
    const PrefixMatch* match = matches_->Find({1, 1});
    return match == nullptr ? PrefixMatch{} : *match;
  }
  const EndpointBlocks::Counters& Count() const { return endpoint_->counters(); }

  ManualClock clock_;
  std::unique_ptr<BlockKeys> keys_;
  std::unique_ptr<PrefixIndex> index_;
  std::unique_ptr<PrefixMatches> matches_;
  PrefixIndex::Slot slot_ = 0;
  std::unique_ptr<EndpointBlocks> endpoint_;
};

TEST_F(Blocks, AChainGrowsShrinksAndIsCleared) {
  const auto tokens = Tokens(0, 16);
  Store({101, 102}, {}, Tokens(0, 8), 4);
  Store({103}, 102, Tokens(8, 4), 4);
  EXPECT_EQ(Ask(tokens).blocks, 3u);
  EXPECT_EQ(Ask(tokens).by_holding[kGpu], 3u);
  Remove({102});
  EXPECT_EQ(Ask(tokens).blocks, 1u);
  Store({102}, 101, Tokens(4, 4), 4);
  EXPECT_EQ(Ask(tokens).blocks, 3u);
  ClearAll();
  EXPECT_EQ(Ask(tokens).blocks, 0u);
  EXPECT_EQ(index_->Read().holders, 0u);
  EXPECT_EQ(endpoint_->Entries(), 0u);
}

// Engines' hashes do not contain the model; keys do, so that two base models cannot meet.
TEST_F(Blocks, Trap15And18TheModelsNameSeparatesEqualTokens) {
  Store({1}, {}, Tokens(0, 4), 4);
  EXPECT_EQ(Ask(Tokens(0, 4), "other").blocks, 0u);
  DecodedEvent event;
  const std::vector<uint64_t> hashes = {2};
  const auto tokens = Tokens(0, 4);
  event = Stored(hashes, {}, tokens, 4);
  event.lora_name = "lora-a";
  endpoint_->OnEvent(event);
  EXPECT_EQ(Ask(tokens, "lora-a").blocks, 1u);
}

// Upstream folds an adapter's name from extra_keys into the key, which then matches no request.
TEST_F(Blocks, Trap16And17ExtrasInTheirOrderAndNotTheAdaptersName) {
  const auto tokens = Tokens(0, 8);
  const std::vector<uint64_t> hashes = {1, 2};
  const std::vector<DecodedExtra> extras = {{.text = "lora-a"},
                                            {.text = "img-hash", .offset = 2},
                                            {.text = "tenant-1"},
                                            {.text = "lora-a"},
                                            {.text = "img-hash", .offset = -2}};
  const std::vector<uint32_t> of_block = {3, 2};
  DecodedEvent event = Stored(hashes, {}, tokens, 4);
  event.lora_name = "lora-a";
  event.extras = extras;
  event.extras_of_block = of_block;
  endpoint_->OnEvent(event);
  const MultimodalSpan items[] = {{"img-hash", 2, 4}};
  EXPECT_EQ(Ask(tokens, "lora-a", {.cache_salt = "tenant-1", .items = items}).blocks, 2u);
  EXPECT_EQ(Ask(tokens, "lora-a", {.items = items}).blocks, 0u);
  EXPECT_EQ(Ask(tokens, "lora-a").blocks, 0u);
}

TEST_F(Blocks, SglangsSaltIsOnTheFirstBlock) {
  const auto tokens = Tokens(0, 8);
  const std::vector<uint64_t> hashes = {1, 2};
  DecodedEvent event = Stored(hashes, {}, tokens, 4);
  event.cache_salt = "tenant-1";
  endpoint_->OnEvent(event);
  EXPECT_EQ(Ask(tokens, "model", {.cache_salt = "tenant-1"}).blocks, 2u);
  EXPECT_EQ(Ask(tokens).blocks, 0u);
}

TEST_F(Blocks, Trap19AnEngineBlockOfSeveralOfOurs) {
  const auto tokens = Tokens(0, 32);
  const std::vector<uint64_t> hashes = {1, 2};
  const std::vector<DecodedExtra> extras = {{.text = "tenant-1"}};
  const std::vector<uint32_t> of_block = {1, 0};
  DecodedEvent event = Stored(hashes, {}, std::span(tokens).first(24), 12);
  event.extras = extras;
  event.extras_of_block = of_block;
  endpoint_->OnEvent(event);
  EXPECT_EQ(Ask(tokens, "model", {.cache_salt = "tenant-1"}).blocks, 6u);
  Store({3}, 2, Tokens(24, 8), 8);  // another size behind it
  EXPECT_EQ(Ask(tokens, "model", {.cache_salt = "tenant-1"}).blocks, 8u);
  Remove({2});
  EXPECT_EQ(Ask(tokens, "model", {.cache_salt = "tenant-1"}).blocks, 3u);
  Remove({1, 3});
  EXPECT_EQ(index_->Read().holders, 0u);
  EXPECT_EQ(endpoint_->Entries(), 0u);
}

TEST_F(Blocks, Trap19SeveralEngineBlocksInOneOfOurs) {
  Open(16);
  const auto tokens = Tokens(0, 48);
  Store({1, 2, 3, 4, 5, 6}, {}, Tokens(0, 24), 4);
  EXPECT_EQ(Ask(tokens).blocks, 1u);
  // Decoding announces one engine block at a time; upstream loses these.
  Store({7}, 6, Tokens(24, 4), 4);
  EXPECT_EQ(Ask(tokens).blocks, 1u);
  Store({8}, 7, Tokens(28, 4), 4);
  EXPECT_EQ(Ask(tokens).blocks, 2u);
  Store({9, 10, 11, 12}, 8, Tokens(32, 16), 4);
  EXPECT_EQ(Ask(tokens).blocks, 3u);
  Remove({6});  // the second block of ours is not whole any more
  EXPECT_EQ(Ask(tokens).blocks, 1u);
  EXPECT_EQ(Count().lost_parents, 0u);
  Store({20}, 5, Tokens(24, 4), 4);  // begins inside a block whose beginning is not remembered
  EXPECT_EQ(Count().unaligned, 1u);
  Remove({1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12});
  EXPECT_EQ(index_->Read().holders, 0u);
}

TEST_F(Blocks, SizesThatDoNotDivideEachOtherAreCountedAndNotIndexed) {
  Store({1}, {}, Tokens(0, 6), 6);
  EXPECT_EQ(Count().block_size_unfit, 1u);
  EXPECT_EQ(index_->Read().holders, 0u);
}

TEST_F(Blocks, Trap21ALostParentIsCountedAndItsChildrenAreNotGuessed) {
  Store({2}, 1, Tokens(4, 4), 4);
  EXPECT_EQ(Count().lost_parents, 1u);
  EXPECT_EQ(index_->Read().holders, 0u);
}

TEST_F(Blocks, Trap22CopiesAreCountedAndUnbalancedRemovalsPass) {
  const auto tokens = Tokens(0, 4);
  Store({1}, {}, tokens, 4);
  Store({1}, {}, tokens, 4);
  Remove({1});
  EXPECT_EQ(Ask(tokens).blocks, 1u) << "a second copy is left";
  EXPECT_EQ(Count().copies_left, 1u);
  Remove({1});
  EXPECT_EQ(Count().copies_left, 1u);
  EXPECT_EQ(Count().removed, 2u);
  EXPECT_EQ(Ask(tokens).blocks, 0u);
  Remove({1});
  EXPECT_EQ(Count().unknown_removed, 1u);
  Store({1}, {}, tokens, 4);
  Store({1}, {}, tokens, 4);
  ClearAll();
  Store({1}, {}, tokens, 4);
  Remove({1});
  EXPECT_EQ(Ask(tokens).blocks, 0u) << "counts do not outlive a clear";
}

TEST_F(Blocks, Trap23ClearIsOfAllTiers) {
  Store({1}, {}, Tokens(0, 4), 4);
  Store({1}, {}, Tokens(0, 4), 4, "CPU");
  ClearAll();
  EXPECT_EQ(Ask(Tokens(0, 4)).blocks, 0u);
}

TEST_F(Blocks, Trap24ARemovalWithoutAGroupTakesAStoreWithOne) {
  const auto tokens = Tokens(0, 4);
  const std::vector<uint64_t> hashes = {1};
  DecodedEvent event = Stored(hashes, {}, tokens, 4);
  event.group = 0;
  event.spec_kind = "full_attention";
  endpoint_->OnEvent(event);
  Remove({1});
  EXPECT_EQ(Ask(tokens).blocks, 0u);
}

TEST_F(Blocks, Trap25OtherGroupsAndSpansThatAreNotDenseAreNotIndexed) {
  const auto tokens = Tokens(0, 8);
  const std::vector<uint64_t> hashes = {1, 2};
  DecodedEvent window = Stored(hashes, {}, tokens, 4);
  window.group = 1;
  window.spec_kind = "sliding_window";
  endpoint_->OnEvent(window);
  EXPECT_EQ(index_->Read().holders, 0u);
  EXPECT_TRUE(Count().limited_reuse);
  DecodedEvent full = window;
  full.group = 0;
  full.spec_kind = "full_attention";
  endpoint_->OnEvent(full);
  EXPECT_EQ(Ask(tokens).blocks, 2u);
  // The groups share hashes: what leaves the window is still there for full attention.
  Remove({1}, "GPU", 1);
  Remove({1}, "GPU", 7);  // a group that never stored
  EXPECT_EQ(Ask(tokens).blocks, 2u);
  Remove({1}, "GPU", 0);
  EXPECT_EQ(Ask(tokens).blocks, 0u);
  DecodedEvent sparse = Stored(std::span(hashes).first(1), {}, tokens, 4);
  endpoint_->OnEvent(sparse);
  EXPECT_EQ(Count().not_dense, 1u);
  DecodedEvent unknown = Stored(hashes, {}, tokens, 4);
  unknown.spec_kind = "brand_new_attention";
  endpoint_->OnEvent(unknown);
  EXPECT_EQ(Ask(tokens).blocks, 0u);
}

TEST_F(Blocks, Trap26EventsWithoutTokensAddATierToKnownBlocks) {
  const auto tokens = Tokens(0, 8);
  Store({1, 2}, {}, tokens, 4);
  Store({2, 99}, {}, {}, 0, "CPU");
  EXPECT_EQ(Count().tier_updates, 1u);
  Remove({1, 2});
  EXPECT_EQ(Ask(tokens).blocks, 0u) << "the first block has no other tier";
  Store({1}, {}, Tokens(0, 4), 4);
  EXPECT_EQ(Ask(tokens).blocks, 2u);
  EXPECT_EQ(Ask(tokens).by_holding[kCpu], 1u);
  EXPECT_FLOAT_EQ(Ask(tokens).weighted, 1.8f);
  Remove({2}, "CPU");
  EXPECT_EQ(Ask(tokens).blocks, 1u);
}

TEST_F(Blocks, ARemoteTierIsSomebodyElses) {
  const auto tokens = Tokens(0, 4);
  const std::vector<uint64_t> hashes = {1};
  DecodedEvent event = Stored(hashes, {}, tokens, 4);
  event.locality = "REMOTE";
  endpoint_->OnEvent(event);
  EXPECT_EQ(Count().remote, 1u);
  EXPECT_EQ(index_->Read().holders, 0u);
}

TEST_F(Blocks, WithoutMemoryWhatCannotBeRemovedIsNotClaimed) {
  Open(4, PrefixIndex::kBytesMin + 64 * 28);
  std::vector<std::vector<uint32_t>> stored;
  for (uint32_t i = 0; i < 60'000; ++i) {
    Store({i + 1}, {}, Tokens(i * 4, 4), 4);
    ASSERT_LE(index_->Read().bytes, index_->Read().bytes_max);
  }
  EXPECT_GT(Count().without_memory + index_->Read().evicted, 0u);
  EXPECT_GT(index_->Read().holders, 10'000u);
  for (uint32_t i = 0; i < 60'000; ++i) Remove({i + 1});
  EXPECT_EQ(index_->Read().holders, 0u) << "every block that was claimed could be removed";
}

// Random stores and removals of chains on two tiers, against sets.
TEST_F(Blocks, OracleOverChainsCopiesAndTiers) {
  for (const auto& [ours, engine] : std::vector<std::pair<uint32_t, uint32_t>>{{4, 4}, {4, 12}, {8, 8}}) {
    Open(ours);
    Rng rng(ours + engine);
    constexpr uint32_t kChains = 6, kBlocks = 10;
    std::map<std::pair<uint64_t, std::string>, int> copies;  // (hash, tier)
    const auto hash = [](uint32_t chain, uint32_t block) { return uint64_t{chain + 1} << 32 | block; };
    for (int step = 0; step < 4000; ++step) {
      const auto chain = static_cast<uint32_t>(rng.Below(kChains));
      const std::string tier = rng.Below(4) == 0 ? "CPU" : "GPU";
      const auto held = [&](uint32_t block) {
        return copies[{hash(chain, block), "GPU"}] + copies[{hash(chain, block), "CPU"}] > 0;
      };
      if (rng.Below(5) < 3) {
        // A store whose parent is known, as an engine makes them.
        auto first = static_cast<uint32_t>(rng.Below(kBlocks));
        while (first > 0 && !held(first - 1)) --first;
        const auto count = static_cast<uint32_t>(1 + rng.Below(kBlocks - first));
        std::vector<uint64_t> hashes;
        for (uint32_t b = first; b < first + count; ++b) {
          hashes.push_back(hash(chain, b));
          ++copies[{hash(chain, b), tier}];
        }
        Store(hashes, first == 0 ? std::nullopt : std::optional(hash(chain, first - 1)),
              Tokens(chain * 10'000 + first * engine, count * engine), engine, tier);
      } else {
        const auto b = static_cast<uint32_t>(rng.Below(kBlocks));
        Remove({hash(chain, b)}, tier);
        int& n = copies[{hash(chain, b), tier}];
        if (n > 0) --n;
      }
      uint32_t expected = 0;
      while (expected < kBlocks && held(expected)) ++expected;
      ASSERT_EQ(Ask(Tokens(chain * 10'000, kBlocks * engine)).blocks, expected * (engine / ours)) << "step " << step;
    }
    EXPECT_EQ(Count().lost_parents, 0u);
  }
}

}  // namespace
}  // namespace sluice::kvindex

// Every number here is a golden value of upstream's algorithms, not one of ours.
#include "kvindex/block_keys.h"

#include <gtest/gtest.h>

#include <numeric>

namespace sluice::kvindex {
namespace {

using Keys = std::vector<uint64_t>;

std::vector<uint32_t> Tokens(uint32_t first, size_t count) {
  std::vector<uint32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

BlockKeys Make(KeyAlgorithm algorithm, std::string seed, uint32_t block) {
  return BlockKeys({.algorithm = algorithm, .hash_seed = std::move(seed), .block_size_tokens = block});
}

Keys Chain(const BlockKeys& keys, std::string_view model, std::span<const uint32_t> tokens,
           const PromptExtras& extras = {}) {
  Keys out;
  keys.AppendChain(model, tokens, extras, 1000, out);
  return out;
}

TEST(BlockKeys, UpstreamsEndToEndConstant) {
  const std::vector<uint32_t> tokens = {8197, 438, 322, 18926, 432, 45600, 49};
  EXPECT_EQ(Chain(Make(KeyAlgorithm::kCborFnv, "", 4), "ibm-granite/granite-3.1-8b-instruct", tokens),
            Keys{1334984470577408192u});
}

TEST(BlockKeys, CborFnvVectors) {
  const BlockKeys plain = Make(KeyAlgorithm::kCborFnv, "", 16);
  EXPECT_EQ(plain.Root("m"), 0x9ddb2db69f3f452cu);
  EXPECT_EQ(Chain(plain, "m", Tokens(0, 32)), (Keys{0x6b03331a89270195, 0x338dadf83464fce0}));
  EXPECT_EQ(Chain(plain, "m", Tokens(0, 16), {.cache_salt = "s"}), Keys{0xd32cb54148478049});
  EXPECT_EQ(plain.Root("test-model"), 17515353698173365712u);
  EXPECT_EQ(plain.Root("Qwen/Qwen3-0.6B"), 12449044111902447012u);
  EXPECT_EQ(Chain(plain, "test-model", Tokens(1000, 48)),
            (Keys{9287919684676988610u, 7542613780144480687u, 18171188654853679256u}));
  EXPECT_EQ(Chain(Make(KeyAlgorithm::kCborFnv, "", 4), "test-model", Tokens(0, 12)),
            (Keys{10316658771830003038u, 17964138960155835466u, 8515777473938109582u}));
  const BlockKeys seeded = Make(KeyAlgorithm::kCborFnv, "42", 16);
  EXPECT_EQ(seeded.Root("m"), 0xbdc1bd2ff312d827u);
  EXPECT_EQ(Chain(seeded, "m", Tokens(0, 32)), (Keys{0xada6229a31c6d317, 0xf87d28dcbca36c67}));
  EXPECT_EQ(Chain(seeded, "test-model", Tokens(1000, 48)),
            (Keys{7007495746215472945u, 8005672321929018882u, 17513767386219068063u}));
}

TEST(BlockKeys, Xxh64Vectors) {
  const BlockKeys plain = Make(KeyAlgorithm::kXxh64, "", 16);
  EXPECT_EQ(plain.Root("m"), 0xc90cbf5421a4994bu);
  EXPECT_EQ(Chain(plain, "m", Tokens(0, 32)), (Keys{0x5317a154bfe36a86, 0xcef81508f75d55b7}));
  EXPECT_EQ(Chain(plain, "m", Tokens(0, 16), {.cache_salt = "s"}), Keys{0xa0bd89dacc7e52a3});
  EXPECT_EQ(plain.Root("test-model"), 658786475292698776u);
  EXPECT_EQ(Chain(plain, "test-model", Tokens(1000, 48)),
            (Keys{7942459905264812736u, 4131545764697525765u, 14515246437780496962u}));
  const BlockKeys seeded = Make(KeyAlgorithm::kXxh64, "42", 4);
  EXPECT_EQ(seeded.Root("test-model"), 15859082555703346732u);
  EXPECT_EQ(Chain(seeded, "test-model", Tokens(0, 12)),
            (Keys{10594128415191006989u, 16439611726232080937u, 3310710693215289685u}));
}

TEST(BlockKeys, MultimodalItemsTaintTheBlocksTheyOverlapAndTheSaltComesLast) {
  const BlockKeys keys = Make(KeyAlgorithm::kCborFnv, "", 4);
  const auto tokens = Tokens(0, 8);
  const MultimodalSpan in_first[] = {{"img-hash", 1, 3}};
  EXPECT_EQ(Chain(keys, "test-model", tokens, {.items = in_first}),
            (Keys{16055740237622149396u, 13961730264993750263u}));
  const MultimodalSpan over_both[] = {{"img-hash", 2, 4}};
  EXPECT_EQ(Chain(keys, "test-model", tokens, {.items = over_both}),
            (Keys{16055740237622149396u, 2610404105971437719u}));
  EXPECT_EQ(Chain(keys, "test-model", tokens, {.cache_salt = "tenant-1"}),
            (Keys{3748032202363796068u, 13729313180079662585u}));
  EXPECT_EQ(Chain(keys, "test-model", tokens, {.cache_salt = "tenant-1", .items = in_first}),
            (Keys{1535485335291368456u, 7091043573528742480u}));
  EXPECT_EQ(Chain(Make(KeyAlgorithm::kXxh64, "", 4), "test-model", tokens, {.items = in_first}),
            (Keys{13224913653183861085u, 4083824666277133632u}));
}

TEST(BlockKeys, ALongBlockHashesAsItsBytes) {
  // Past the stack buffer the hash is streamed; a block with an empty extra is hashed by the streaming path as well.
  const BlockKeys keys = Make(KeyAlgorithm::kXxh64, "", 16);
  const auto tokens = Tokens(0, 1000);
  const uint64_t whole = keys.Next(7, tokens, {});
  EXPECT_NE(whole, keys.Next(7, std::span(tokens).first(999), {}));
  const std::string_view extra[] = {""};
  EXPECT_NE(whole, keys.Next(7, tokens, extra));
}

TEST(BlockKeys, OnlyWholeBlocksAndNotMoreThanAsked) {
  const BlockKeys keys = Make(KeyAlgorithm::kXxh64, "", 16);
  EXPECT_TRUE(Chain(keys, "m", Tokens(0, 15)).empty());
  EXPECT_EQ(Chain(keys, "m", Tokens(0, 47)).size(), 2u);
  Keys out;
  keys.AppendChain("m", Tokens(0, 160), {}, 3, out);
  EXPECT_EQ(out.size(), 3u);
}

TEST(BlockKeys, AlgorithmNames) {
  EXPECT_EQ(*ParseKeyAlgorithm(""), KeyAlgorithm::kCborFnv);
  EXPECT_EQ(*ParseKeyAlgorithm("xxh64"), KeyAlgorithm::kXxh64);
  EXPECT_EQ(Name(KeyAlgorithm::kCborFnv), "cbor-fnv");
  const auto wrong = ParseKeyAlgorithm("xxh46");
  ASSERT_FALSE(wrong.has_value());
  EXPECT_NE(wrong.error().message.find("did you mean 'xxh64'"), std::string::npos);
}

}  // namespace
}  // namespace sluice::kvindex

#include "kvindex/engine_hash.h"

#include <gtest/gtest.h>

#include <numeric>

namespace sluice::kvindex {
namespace {

std::string Hex(const BlockDigest& digest) {
  std::string hex;
  for (const char c : digest.View()) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

std::vector<uint64_t> Chain(const EngineHash& hash, int first_token, int blocks, int block_size) {
  std::vector<int32_t> tokens(static_cast<size_t>(block_size));
  std::vector<uint64_t> low;
  BlockDigest parent = hash.Root();
  for (int i = 0; i < blocks; ++i) {
    std::iota(tokens.begin(), tokens.end(), first_token + i * block_size);
    parent = hash.Next(parent, tokens, {});
    low.push_back(parent.Low64());
  }
  return low;
}

TEST(EngineHash, RootIsTheDigestOfTheSeedAsText) {
  EXPECT_EQ(Hex(EngineHash(HashAlgorithm::kSha256Cbor, "0").Root()),
            "4e1195df020de59e0d65a33a4279f1183e7ae4e5d980e309f8b55adff2e61c3e");
  EXPECT_EQ(Hex(EngineHash(HashAlgorithm::kSha256Cbor, "42").Root()),
            "9fa6eb003f14425eb9c8e6baacfbcaab26257357b829c7bfa74ffcc4f31c1780");
  EXPECT_EQ(Hex(EngineHash(HashAlgorithm::kXxhashCbor, "0").Root()), "1ebe36576dcb573f26b99533a20aaeca");
  EXPECT_EQ(Hex(EngineHash(HashAlgorithm::kXxhashCbor, "42").Root()), "a9d2e63407fce1a26c9dc9d7fa2d7caf");
}

TEST(EngineHash, WithoutASeedShaIsConstantAndXxhashIsNot) {
  EXPECT_EQ(Hex(EngineHash(HashAlgorithm::kSha256Cbor, std::nullopt).Root()),
            "9bd96a485ad84efdafb72ee48a1d7a69bcead0f8f0433173941b276b9581eef0");
  EXPECT_NE(EngineHash(HashAlgorithm::kXxhashCbor, std::nullopt).Root(),
            EngineHash(HashAlgorithm::kXxhashCbor, std::nullopt).Root());
}

TEST(EngineHash, ChainsOfPlainTokens) {
  EXPECT_EQ(Chain(EngineHash(HashAlgorithm::kSha256Cbor, "0"), 0, 3, 4),
            (std::vector<uint64_t>{10703402261835016479u, 15234836411599629619u, 7546740992792136752u}));
  EXPECT_EQ(Chain(EngineHash(HashAlgorithm::kXxhashCbor, "0"), 0, 3, 4),
            (std::vector<uint64_t>{5527508028254784353u, 2799858125201338760u, 16269770387100656228u}));
  EXPECT_EQ(Chain(EngineHash(HashAlgorithm::kSha256Cbor, "42"), 1000, 3, 16),
            (std::vector<uint64_t>{13356853646056301512u, 13336132202528004482u, 7506868006141990121u}));
  EXPECT_EQ(Chain(EngineHash(HashAlgorithm::kXxhashCbor, "42"), 1000, 3, 16),
            (std::vector<uint64_t>{6033498359481846924u, 4362893380859066034u, 14044388696196767253u}));
}

TEST(EngineHash, SaltAndAdapterChangeTheHash) {
  const EngineHash hash(HashAlgorithm::kSha256Cbor, "0");
  const int32_t tokens[] = {1, 2, 3, 4};
  const auto with = [&](ExtraKeys extra) { return hash.Next(hash.Root(), tokens, extra).Low64(); };
  const uint64_t plain = with({});
  const uint64_t salted = with({.cache_salt = "x"});
  const uint64_t adapted = with({.lora_name = "x", .lora_path = "/a"});
  EXPECT_NE(plain, salted);
  EXPECT_NE(salted, adapted) << "a salt must not be taken for an adapter";
  EXPECT_NE(adapted, with({.lora_name = "x", .lora_path = "/b"}));
  EXPECT_NE(adapted, with({.cache_salt = "x", .lora_name = "x", .lora_path = "/a"}));
}

// Computed with Python's hashlib over ("lora", name, path), ("cache_salt", salt) in canonical CBOR.
TEST(EngineHash, ExtraKeysAreTaggedAdapterFirst) {
  const EngineHash hash(HashAlgorithm::kSha256Cbor, "0");
  const int32_t tokens[] = {1, 2, 3, 4};
  const ExtraKeys extra{.cache_salt = "tenant-1", .lora_name = "lora-a", .lora_path = "/a"};
  EXPECT_EQ(hash.Next(hash.Root(), tokens, extra).Low64(), 6525365559170962637u);
}

TEST(EngineHash, NamesRoundTripAndOthersAreRefused) {
  for (const HashAlgorithm a : {HashAlgorithm::kSha256Cbor, HashAlgorithm::kXxhashCbor}) {
    EXPECT_EQ(ParseHashAlgorithm(Name(a)), a);
  }
  const auto typo = ParseHashAlgorithm("sha256_cbro");
  ASSERT_FALSE(typo.has_value());
  EXPECT_NE(typo.error().message.find("did you mean 'sha256_cbor'"), std::string::npos) << typo.error().message;
  const auto pickle = ParseHashAlgorithm("sha256");
  ASSERT_FALSE(pickle.has_value());
  EXPECT_NE(pickle.error().message.find("pickle"), std::string::npos);
}

}  // namespace
}  // namespace sluice::kvindex

#include "tokenize/prefix_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "base/rng.h"
#include "tokenize/gguf_tokenizer.h"
#include "tokenize/hf_fixture.h"

namespace sluice::tokenize {
namespace {

constexpr size_t kMega = size_t{1} << 20;

// Bytes as tokens, "<end>" as token 256; counts what it was asked to tokenize.
class CountingTokenizer final : public Tokenizer {
 public:
  static constexpr std::string_view kEnd = "<end>";
  std::vector<TokenId> Encode(std::string_view text, bool add_special, bool) const override {
    bytes += text.size();
    std::vector<TokenId> out;
    if (add_special) out.push_back(1000);
    while (!text.empty()) {
      const bool end = text.starts_with(kEnd);
      out.push_back(end ? 256 : static_cast<unsigned char>(text[0]));
      text.remove_prefix(end ? kEnd.size() : 1);
    }
    return out;
  }
  std::string Decode(const std::vector<TokenId>&, bool) const override { return {}; }
  std::string Piece(TokenId, bool) const override { return {}; }
  int VocabSize() const override { return 1001; }
  bool IsSpecial(TokenId token) const override { return token >= 256; }
  std::vector<std::string> CutTokens() const override { return {std::string(kEnd)}; }

  mutable std::atomic<size_t> bytes{0};
};

std::string Turns(int count, int first = 0) {
  std::string text;
  for (int i = first; i < first + count; ++i) text += "turn " + std::to_string(i) + std::string(300, 'x') + "<end>";
  return text;
}

TEST(PrefixCache, TheSecondTurnTokenizesOnlyWhatIsNew) {
  const CountingTokenizer tokenizer;
  PrefixCache cache(tokenizer, kMega);
  const std::string first = Turns(50) + "tail";
  EXPECT_EQ(cache.Encode(first, false).tokens, tokenizer.Encode(first, false, true));
  const std::string second = Turns(51) + "tail";
  const auto expected = tokenizer.Encode(second, false, true);
  tokenizer.bytes = 0;
  const auto encoded = cache.Encode(second, false);
  EXPECT_EQ(encoded.tokens, expected);
  EXPECT_EQ(encoded.bytes_reused, Turns(50).size());
  EXPECT_LT(tokenizer.bytes, 400U);
}

TEST(PrefixCache, AChangeAtTheBeginningReusesNothing) {
  const CountingTokenizer tokenizer;
  PrefixCache cache(tokenizer, kMega);
  cache.Encode(Turns(20), false);
  std::string changed = Turns(20);
  changed[2] = '!';
  const auto encoded = cache.Encode(changed, false);
  EXPECT_EQ(encoded.bytes_reused, 0U);
  EXPECT_EQ(encoded.tokens, tokenizer.Encode(changed, false, true));
}

TEST(PrefixCache, WhatIsPutAroundIsNotPutBetween) {
  const CountingTokenizer tokenizer;
  PrefixCache cache(tokenizer, kMega);
  for (int i = 0; i < 2; ++i) {
    for (const bool add_special : {true, false}) {
      EXPECT_EQ(cache.Encode(Turns(5), add_special).tokens, tokenizer.Encode(Turns(5), add_special, true));
    }
  }
  EXPECT_EQ(cache.Encode(Turns(5), true).bytes_reused, Turns(5).size());
}

TEST(PrefixCache, BytesNeverPassTheLimitAndTheLeastUsedLeave) {
  const CountingTokenizer tokenizer;
  PrefixCache cache(tokenizer, 100'000);
  const std::string kept = Turns(10);
  cache.Encode(kept, false);
  for (int i = 1; i < 200; ++i) {
    cache.Encode(Turns(10, i * 1000), false);
    EXPECT_EQ(cache.Encode(kept, false).bytes_reused, kept.size()) << i;
    ASSERT_LE(cache.Bytes(), 100'000U);
  }
  EXPECT_GT(cache.Entries(), 10U);
  EXPECT_EQ(cache.Encode(Turns(10, 1000), false).bytes_reused, 0U);  // long gone
  // A text that alone is larger than the limit is answered all the same.
  EXPECT_EQ(cache.Encode(Turns(500, 7), false).tokens, tokenizer.Encode(Turns(500, 7), false, true));
  EXPECT_LE(cache.Bytes(), 100'000U);
}

TEST(PrefixCache, ManyThreadsShareIt) {
  const CountingTokenizer tokenizer;
  PrefixCache cache(tokenizer, 200'000);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) {
        const std::string text = Turns(1 + i % 20, (t + i) % 3 * 100);
        wrong += cache.Encode(text, false).tokens != tokenizer.Encode(text, false, true);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// A conversation that grows, message by message, out of pieces that are hard to cut right.
class Conversation {
 public:
  explicit Conversation(uint64_t seed) : rng_(seed) {}
  const std::string& Grow() {
    static const std::vector<std::string> kPieces = {"plain words of a message ",
                                                     "  ",
                                                     "\n\n",
                                                     "\t",
                                                     "Größe ",
                                                     "你好，世界",
                                                     "e\xCC\x81",
                                                     "\xCC\x81",
                                                     "👩‍👩‍👧",
                                                     "I'LL",
                                                     "12345678",
                                                     "<|im_end",
                                                     "<|im_start|>",
                                                     "<|im_end|>",
                                                     "|>",
                                                     "<",
                                                     "<|strip|>",
                                                     " <|strip|> \n",
                                                     "<tool_call>",
                                                     "</tool_call>",
                                                     "kConstant",
                                                     " kConstant ",
                                                     "<s>",
                                                     "</s>",
                                                     " </s> ",
                                                     "<unk>",
                                                     "<|endoftext|>",
                                                     "a",
                                                     "\xFF",
                                                     "\xE2\x80",
                                                     "<|<|im_end|>|>"};
    text_ += "<|im_start|>user\n";
    const auto pieces = rng_.Below(60);
    for (uint64_t i = 0; i < pieces; ++i) text_ += kPieces[rng_.Below(kPieces.size())];
    return text_ += "<|im_end|>\n</s>";
  }

 private:
  Rng rng_;
  std::string text_;
};

void ExpectExact(const Tokenizer& tokenizer, uint64_t seed) {
  PrefixCache cache(tokenizer, 150'000);
  size_t reused = 0;
  for (uint64_t c = 0; c < 12; ++c) {
    Conversation conversation(seed + c % 8);  // some come again
    for (int turn = 0; turn < 8; ++turn) {
      const std::string text = conversation.Grow() + "<|im_start|>assistant\n";
      for (const bool add_special : {false, true}) {
        const auto encoded = cache.Encode(text, add_special);
        ASSERT_EQ(encoded.tokens, tokenizer.Encode(text, add_special, true)) << "seed " << seed + c << ": " << text;
        reused += encoded.bytes_reused;
      }
    }
  }
  EXPECT_GT(reused, 10'000U);
}

TEST(PrefixCache, GivesExactlyWhatTheWholeTextGives) {
  if (!kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
  for (const char* name : {"byte-level", "metaspace"}) {
    const auto tokenizer = OpenGoldenHf(name);
    ASSERT_NE(tokenizer, nullptr);
    for (uint64_t seed = 1; seed < 5; ++seed) ExpectExact(*tokenizer, seed * 100);
  }
}

TEST(PrefixCache, GivesExactlyWhatTheWholeTextGivesWithGguf) {
  const std::string model = SLUICE_SOURCE_DIR "/build/models/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "no model: run `make setup`";
  const auto tokenizer = GgufTokenizer::Open(model);
  ASSERT_TRUE(tokenizer.has_value());
  for (uint64_t seed = 1; seed < 3; ++seed) ExpectExact(**tokenizer, seed * 100);
}

}  // namespace
}  // namespace sluice::tokenize

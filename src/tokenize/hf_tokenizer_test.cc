#include "tokenize/hf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "tokenize/cut_tokens.h"
#include "tokenize/hf_fixture.h"

namespace sluice::tokenize {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

TEST(CutTokens, ThoseThatOverlapAreLeftOut) {
  EXPECT_THAT(WithoutOverlaps({"<b>", "<a>", "<a>"}, {"<a>", "<b>", "word"}), ElementsAre("<a>", "<b>"));
  EXPECT_THAT(WithoutOverlaps({"<a>"}, {"<a>", "x<a>y"}), IsEmpty());  // contained
  EXPECT_THAT(WithoutOverlaps({"<ab>"}, {"<ab>", "b"}), IsEmpty());    // contains
  EXPECT_THAT(WithoutOverlaps({"<a>"}, {"<a>", "x<"}), IsEmpty());     // begins with its end
  EXPECT_THAT(WithoutOverlaps({"<a>"}, {"<a>", ">>"}), IsEmpty());     // ends with its beginning
  EXPECT_THAT(WithoutOverlaps({"--", ""}, {"--", ""}), IsEmpty());     // overlaps itself: "---"
  EXPECT_THAT(WithoutOverlaps({"<a>"}, {"<a>", "<ab>", "<c>"}), ElementsAre("<a>"));
}

class HfTokenizerGolden : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
    tokenizer_ = OpenGoldenHf(GetParam());
    ASSERT_NE(tokenizer_, nullptr);
    const auto text = ReadFile(GoldenHfFolder(GetParam()) + "/cases.json", size_t{1} << 20);
    ASSERT_TRUE(text.has_value());
    golden_ = Json::parse(*text);
  }
  std::unique_ptr<HfTokenizer> tokenizer_;
  Json golden_;
};

TEST_P(HfTokenizerGolden, GivesWhatPythonGives) {
  EXPECT_EQ(tokenizer_->VocabSize(), golden_["vocab_size"].get<int>());
  ASSERT_GT(golden_["cases"].size(), 20U);
  for (const Json& c : golden_["cases"]) {
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer_->Encode(text, true, true), ids) << text;
    EXPECT_EQ(tokenizer_->Encode(text, false, true), c["plain"].get<std::vector<TokenId>>()) << text;
    EXPECT_EQ(tokenizer_->Encode(text, false, false), c["literal"].get<std::vector<TokenId>>()) << text;
    EXPECT_EQ(tokenizer_->Decode(ids, false), c["decoded"].get<std::string>()) << text;
    EXPECT_EQ(tokenizer_->Decode(ids, true), c["skipped"].get<std::string>()) << text;
  }
}

TEST_P(HfTokenizerGolden, ManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (const Json& c : golden_["cases"]) {
        const auto text = c["text"].get<std::string>();
        wrong += tokenizer_->Encode(text, false, false) != c["literal"].get<std::vector<TokenId>>();
        wrong += tokenizer_->Encode(text, false, true) != c["plain"].get<std::vector<TokenId>>();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(Families, HfTokenizerGolden, ::testing::Values("byte-level", "metaspace"),
                         [](const auto& tested) {
                           return std::string(tested.param) == "metaspace" ? "metaspace" : "bytes";
                         });

TEST(HfTokenizer, KnowsItsSpecialTokens) {
  if (!kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
  const auto tokenizer = OpenGoldenHf("byte-level");
  ASSERT_NE(tokenizer, nullptr);
  const TokenId end = tokenizer->Encode("<|im_end|>", false, true).at(0);
  EXPECT_TRUE(tokenizer->IsSpecial(end));
  EXPECT_EQ(tokenizer->Piece(end, true), "<|im_end|>");
  EXPECT_EQ(tokenizer->Piece(end, false), "");
  EXPECT_FALSE(tokenizer->IsSpecial(end + 300));
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_EQ(tokenizer->Piece(-1, true), "");
  EXPECT_EQ(tokenizer->Piece(1 << 30, true), "");
  EXPECT_THAT(tokenizer->CutTokens(),
              ElementsAre("<|endoftext|>", "<|fim|>", "<|im_end|>", "<|im_start|>", "<|strip|>"));
}

TEST(HfTokenizer, TextThatIsNotUtf8IsReadWithReplacements) {
  if (!kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
  const auto tokenizer = OpenGoldenHf("byte-level");
  ASSERT_NE(tokenizer, nullptr);
  const std::string replaced = "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz";
  for (const std::string wrong : {"a\xFF\xFE\x80z", "a\xED\xA0\x80z", "a\xE0\x80\x80z"}) {
    EXPECT_EQ(tokenizer->Encode(wrong, false, true), tokenizer->Encode(replaced, false, true));
  }
  EXPECT_EQ(tokenizer->Encode("a\xC3", false, true), tokenizer->Encode("a\xEF\xBF\xBD", false, true));
}

TEST(HfTokenizer, WhatIsNoTokenizerIsRefused) {
  if (!kHfTokenizersBuilt) GTEST_SKIP() << "built without cargo";
  for (const char* wrong : {"", "{}", "nonsense", "[1]", R"({"version":"1.0","model":{"type":"Other"}})"}) {
    const auto opened = HfTokenizer::Open(wrong);
    ASSERT_FALSE(opened.has_value()) << wrong;
    EXPECT_EQ(opened.error().code, Code::kInvalidArgument);
    EXPECT_THAT(opened.error().message, HasSubstr("tokenizer.json"));
  }
}

}  // namespace
}  // namespace sluice::tokenize

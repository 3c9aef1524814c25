#include "tokenize/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace sluice::tokenize {
namespace {

const std::string kModel = SLUICE_SOURCE_DIR "/build/models/SmolLM2-135M-Instruct.Q4_1.gguf";

class GgufTokenizerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kModel)) GTEST_SKIP() << "no model at " << kModel << "; run tools/deps.sh model";
    auto opened = GgufTokenizer::Open(kModel);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    tokenizer_ = std::move(*opened);
  }
  std::unique_ptr<GgufTokenizer> tokenizer_;
};

TEST_F(GgufTokenizerTest, TextSurvivesTheRoundTrip) {
  for (const std::string text :
       {"Hello, world!", "  two  spaces", "naïve café €5 \xF0\x9F\x98\x80", "line\nline\n\n", ""}) {
    const auto tokens = tokenizer_->Encode(text, false, false);
    EXPECT_EQ(tokenizer_->Decode(tokens, true), text);
    std::string pieces;
    for (TokenId t : tokens) pieces += tokenizer_->Piece(t, true);
    EXPECT_EQ(pieces, text);
  }
}

TEST_F(GgufTokenizerTest, SpecialTokensAreReadOnlyWhenAskedFor) {
  const auto special = tokenizer_->Encode("<|im_start|>", false, true);
  ASSERT_EQ(special.size(), 1U);
  EXPECT_TRUE(tokenizer_->IsSpecial(special[0]));
  EXPECT_EQ(tokenizer_->Piece(special[0], true), "<|im_start|>");
  EXPECT_EQ(tokenizer_->Piece(special[0], false), "");
  EXPECT_EQ(tokenizer_->Decode(special, true), "");
  EXPECT_EQ(tokenizer_->Decode(special, false), "<|im_start|>");
  const auto plain = tokenizer_->Encode("<|im_start|>", false, false);
  EXPECT_GT(plain.size(), 1U);
  EXPECT_FALSE(tokenizer_->IsSpecial(plain[0]));
}

TEST_F(GgufTokenizerTest, KnowsItsVocabulary) {
  EXPECT_EQ(tokenizer_->VocabSize(), 49152);
  EXPECT_FALSE(tokenizer_->EndTokens().empty());
  EXPECT_EQ(tokenizer_->EosText(), "<|im_end|>");
  EXPECT_EQ(tokenizer_->Piece(-1, true), "");
  EXPECT_EQ(tokenizer_->Piece(1 << 30, true), "");
  EXPECT_FALSE(tokenizer_->FileChatTemplate().empty());
}

TEST(GgufTokenizer, OpenSaysWhatIsWrong) {
  auto missing = GgufTokenizer::Open("/nonexistent/model.gguf");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  const std::string path = ::testing::TempDir() + "/not-a-model.gguf";
  std::ofstream(path) << "GGUFthis is not a model";
  SetLlamaLog([](int, std::string_view) {});
  auto damaged = GgufTokenizer::Open(path);
  SetLlamaLog(nullptr);
  ASSERT_FALSE(damaged.has_value());
  EXPECT_EQ(damaged.error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace sluice::tokenize

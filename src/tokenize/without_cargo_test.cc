// What a build without cargo says of a tokenizer.json; a program of its own, with the sources as that build has them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenize/hf_tokenizer.h"

namespace sluice::tokenize {
namespace {

TEST(HfTokenizerWithoutCargo, SaysThatItIsNotBuiltIn) {
  EXPECT_FALSE(kHfTokenizersBuilt);
  const auto opened = HfTokenizer::Open("{}");
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, Code::kUnavailable);
  EXPECT_THAT(opened.error().message, ::testing::HasSubstr("cargo"));
}

}  // namespace
}  // namespace sluice::tokenize

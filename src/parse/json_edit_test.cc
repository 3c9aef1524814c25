#include "parse/json_edit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::parse {
namespace {

using testing::Optional;

TEST(RewriteModel, ChangesOnlyTheModelsValue) {
  const std::string body =
      "{ \"z\" : 12345678901234567890123, \"a\":1.50,\n\t\"model\" : \"old\" ,\"messages\":[{\"model\":\"old\"}],"
      "\"text\":\"<&> \\\"model\\\":\\\"old\\\" \\u00e9\"}\n";
  const auto rewritten = RewriteModel(body, "new/\"x\"");
  ASSERT_TRUE(rewritten);
  std::string expected = body;
  expected.replace(expected.find("\"old\""), 5, R"("new/\"x\"")");
  EXPECT_EQ(*rewritten, expected);
}

TEST(RewriteModel, EveryTopLevelOneHoweverItIsWritten) {
  EXPECT_EQ(*RewriteModel(R"({"model":"a","x":{"model":"a"},"model":"b"})", "n"),
            R"({"model":"n","x":{"model":"a"},"model":"n"})");
  EXPECT_EQ(*RewriteModel(R"({"m\u006fdel":"a"})", "n"), R"({"m\u006fdel":"n"})");
  EXPECT_EQ(*RewriteModel(R"({"model":null})", "n"), R"({"model":"n"})");
  EXPECT_EQ(*RewriteModel(R"({"model":[1,{"a":"}]"}],"b":2})", "n"), R"({"model":"n","b":2})");
  EXPECT_EQ(*RewriteModel(R"({"models":"a"})", "n"), R"({"model":"n","models":"a"})");
  EXPECT_EQ(*RewriteModel("{}", "n"), R"({"model":"n"})");
}

TEST(RewriteModel, WhatIsNoObjectIsRefused) {
  for (const std::string_view body :
       {"", "[]", "7", "{", R"({"model")", R"({"model":)", R"({"model":"a)", R"({"a":1)"}) {
    EXPECT_FALSE(RewriteModel(body, "n")) << body;
  }
  const std::string deep = "{\"a\":" + std::string(100'000, '[') + std::string(100'000, ']') + ",\"model\":\"o\"}";
  const auto rewritten = RewriteModel(deep, "n");
  ASSERT_TRUE(rewritten);
  EXPECT_TRUE(rewritten->ends_with(",\"model\":\"n\"}"));
}

TEST(WithoutTransferParams, TakesThemOutWithTheirComma) {
  const auto without = [](std::string_view body) { return WithoutTransferParams(body).value_or("error"); };
  EXPECT_EQ(without(R"({"a":1,"kv_transfer_params":{"x":[1,2]},"b":12345678901234567890})"),
            R"({"a":1,"b":12345678901234567890})");
  EXPECT_EQ(without(R"({"kv_transfer_params":1, "a":1})"), R"({"a":1})");
  EXPECT_EQ(without(R"({"a":1 , "kv_transfer_params":1 })"), R"({"a":1 })");
  EXPECT_EQ(without(R"({"kv_transfer_params":1,"ec_transfer_params":{}})"), "{}");
  EXPECT_EQ(without(R"({"kv_transfer_params":1,"a":1,"kv_transfer_params":2,"kv_transfer_params":3,"b":2})"),
            R"({"a":1,"b":2})");
  EXPECT_EQ(without(R"({"\u006bv_transfer_params":1})"), "{}");
  EXPECT_EQ(without(R"({"messages":[{"kv_transfer_params":1}]})"), R"({"messages":[{"kv_transfer_params":1}]})");
}

TEST(WithoutTransferParams, AlsoWhereVllmPassesExtraArgumentsOn) {
  const auto without = [](std::string_view body) { return WithoutTransferParams(body).value_or("error"); };
  EXPECT_EQ(without(R"({"vllm_xargs":{"kv_transfer_params":"x","k":1},"kv_transfer_params":0,"z":1})"),
            R"({"vllm_xargs":{"k":1},"z":1})");
  EXPECT_EQ(without(R"({"sampling_params":{"n":1,"extra_args":{"kv_transfer_params":{}},"m":2}})"),
            R"({"sampling_params":{"n":1,"extra_args":{},"m":2}})");
  EXPECT_EQ(without(R"({"sampling_params":{"kv_transfer_params":1}})"),
            R"({"sampling_params":{"kv_transfer_params":1}})");
  EXPECT_EQ(without("[]"), "error");
}

TEST(RawStringEquals, EscapesStandForWhatTheyAre) {
  EXPECT_TRUE(RawStringEquals("a\\/b", "a/b"));
  EXPECT_TRUE(RawStringEquals("\\u00e9\\n", "é\n"));
  EXPECT_TRUE(RawStringEquals("\\ud83d\\ude00", "😀"));
  EXPECT_FALSE(RawStringEquals("\\ud83d", "😀"));
  EXPECT_FALSE(RawStringEquals("a\\", "a"));
  EXPECT_FALSE(RawStringEquals("\\u00", ""));
  EXPECT_FALSE(RawStringEquals("\\q", "q"));
}

TEST(RawMember, TheLastOneAsWritten) {
  EXPECT_THAT(RawMember(R"( {"a":{"tools":0},"tools":[ 1 ],"tools": [ 2,"]" ] })", "tools"),
              Optional(std::string_view(R"([ 2,"]" ])")));
  EXPECT_FALSE(RawMember(R"({"a":{"tools":0}})", "tools"));
  EXPECT_FALSE(RawMember("[]", "tools"));
}

}  // namespace
}  // namespace sluice::parse

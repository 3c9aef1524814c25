#include "tokenize/grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::tokenize {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kTools =
    R"([{"type":"function","function":{"name":"get_weather","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}},
        {"type":"function","function":{"name":"now"}}])";

TEST(Grammar, SchemaBecomesRules) {
  auto g = JsonSchemaGrammar(R"({"type":"object","properties":{"age":{"type":"integer"}},"required":["age"]})");
  ASSERT_TRUE(g.has_value()) << g.error().message;
  EXPECT_THAT(*g, HasSubstr("root ::="));
  EXPECT_THAT(*g, HasSubstr("age"));
  EXPECT_TRUE(JsonObjectGrammar().has_value());
}

TEST(Grammar, BadSchemasAreTheCallersFault) {
  std::string deep;
  for (int i = 0; i < 200; ++i) deep += R"({"type":"array","items":)";
  deep += "{}";
  for (int i = 0; i < 200; ++i) deep += "}";
  for (const std::string& schema : {std::string("7"), std::string("{"), std::string(R"({"type":"nonsense"})"),
                                    std::string(R"({"$ref":"#/definitions/none"})"), deep}) {
    auto g = JsonSchemaGrammar(schema);
    ASSERT_FALSE(g.has_value()) << schema.substr(0, 40);
    EXPECT_EQ(g.error().code, Code::kInvalidArgument) << g.error().message;
  }
  auto large = JsonSchemaGrammar(std::string(300 << 10, ' '));
  ASSERT_FALSE(large.has_value());
  EXPECT_EQ(large.error().code, Code::kTooLarge);
}

TEST(Grammar, ToolCallsAreForcedOrTriggered) {
  auto forced = ToolCallGrammar(kTools, ToolChoice::kRequired, "", true);
  ASSERT_TRUE(forced.has_value()) << forced.error().message;
  EXPECT_FALSE(forced->lazy);
  EXPECT_THAT(forced->grammar, HasSubstr("<tool_call>"));
  EXPECT_THAT(forced->grammar, HasSubstr("get_weather"));
  EXPECT_THAT(forced->grammar, HasSubstr("now"));
  auto named = ToolCallGrammar(kTools, ToolChoice::kRequired, "now", false);
  ASSERT_TRUE(named.has_value());
  EXPECT_THAT(named->grammar, Not(HasSubstr("get_weather")));
  auto automatic = ToolCallGrammar(kTools, ToolChoice::kAuto, "", true);
  ASSERT_TRUE(automatic.has_value());
  EXPECT_TRUE(automatic->lazy);
  EXPECT_THAT(automatic->triggers, ::testing::ElementsAre("<tool_call>"));
}

TEST(Grammar, BadToolsAreTheCallersFault) {
  for (const char* tools : {"", "{}", "[]", "[1]", R"([{"function":{}}])", R"([{"function":{"name":3}}])",
                            R"([{"function":{"name":"f","parameters":{"type":"nonsense"}}}])"}) {
    auto g = ToolCallGrammar(tools, ToolChoice::kAuto, "", true);
    ASSERT_FALSE(g.has_value()) << tools;
    EXPECT_EQ(g.error().code, Code::kInvalidArgument);
  }
  auto typo = ToolCallGrammar(kTools, ToolChoice::kRequired, "get_wether", true);
  ASSERT_FALSE(typo.has_value());
  EXPECT_THAT(typo.error().message, HasSubstr("get_weather"));
  EXPECT_EQ(typo.error().param, "tool_choice");
}

}  // namespace
}  // namespace sluice::tokenize

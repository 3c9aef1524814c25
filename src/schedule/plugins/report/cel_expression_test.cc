#include "schedule/plugins/report/cel_expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace sluice::schedule {
namespace {

using ::testing::HasSubstr;

constexpr std::array<std::string_view, 3> kNames = {"usage.in", "usage.out", "usage.none"};
constexpr std::array<std::optional<int64_t>, 3> kValues = {100, 7, std::nullopt};

// The value as text, "error", or the problem of parsing.
std::string Of(std::string_view text) {
  const auto expression = CelExpression::Parse(text, kNames);
  if (!expression) return expression.error().message;
  const auto value = expression->Evaluate(kValues);
  if (!value) return "error";
  if (expression->type() == CelExpression::Type::kBool) return *value != 0 ? "true" : "false";
  return std::to_string(*value);
}

TEST(Cel, Precedence) {
  EXPECT_EQ(Of("1 + 2 * 3"), "7");
  EXPECT_EQ(Of("(1 + 2) * 3"), "9");
  EXPECT_EQ(Of("10 - 4 - 3"), "3");
  EXPECT_EQ(Of("100 / 7 / 2"), "7");
  EXPECT_EQ(Of("-7 / 2"), "-3");
  EXPECT_EQ(Of("-7 % 3"), "-1");
  EXPECT_EQ(Of("- -7"), "7");
  EXPECT_EQ(Of("2*-3"), "-6");
  EXPECT_EQ(Of("0x1F + 1"), "32");
  EXPECT_EQ(Of("1 + 1 == 2 && 3 > 2"), "true");
  EXPECT_EQ(Of("true || false && false"), "true");
  EXPECT_EQ(Of("!true || !false"), "true");
  EXPECT_EQ(Of("false ? 1 : true ? 2 : 3"), "2");
  EXPECT_EQ(Of("1 < 2 ? usage.in : usage.out"), "100");
  EXPECT_EQ(Of("usage.in + 3 * usage.out"), "121");
  EXPECT_EQ(Of("\tusage.in\n>=  100 "), "true");
  EXPECT_EQ(Of("1 <= 1"), "true");
  EXPECT_EQ(Of("1 != 1"), "false");
  EXPECT_EQ(Of("true == false"), "false");
}

TEST(Cel, ErrorsAreCels) {
  EXPECT_EQ(Of("1 / 0"), "error");
  EXPECT_EQ(Of("1 % 0"), "error");
  EXPECT_EQ(Of("9223372036854775807 + 1"), "error");
  EXPECT_EQ(Of("-9223372036854775808"), "-9223372036854775808");
  EXPECT_EQ(Of("-9223372036854775808 / -1"), "error");
  EXPECT_EQ(Of("-9223372036854775808 % -1"), "error");
  EXPECT_EQ(Of("-(-9223372036854775808)"), "error");
  EXPECT_EQ(Of("4611686018427387904 * 2"), "error");
  EXPECT_EQ(Of("usage.none + 1"), "error");
  EXPECT_EQ(Of("!(usage.none > 1)"), "error");
}

TEST(Cel, LogicForgetsAnErrorThatDoesNotDecide) {
  EXPECT_EQ(Of("usage.none > 0 || true"), "true");
  EXPECT_EQ(Of("false && usage.none > 0"), "false");
  EXPECT_EQ(Of("usage.none > 0 && false"), "false");
  EXPECT_EQ(Of("usage.none > 0 || false"), "error");
  EXPECT_EQ(Of("usage.none > 0 && true"), "error");
  EXPECT_EQ(Of("has(usage.none) ? usage.none : usage.in"), "100");
  EXPECT_EQ(Of("has(usage.in) && !has(usage.none)"), "true");
  EXPECT_EQ(Of("usage.none > 0 ? 1 : 2"), "error");
}

TEST(Cel, MistakesAreFoundWhenItIsParsed) {
  EXPECT_THAT(Of(""), HasSubstr("column 1: a value is missing"));
  EXPECT_THAT(Of("usage.inn + 1"), HasSubstr("column 1: 'usage.inn' is not known; did you mean 'usage.in'?"));
  EXPECT_THAT(Of("1 + true"), HasSubstr("+ needs numbers"));
  EXPECT_THAT(Of("1 && true"), HasSubstr("&& needs true or false"));
  EXPECT_THAT(Of("!1"), HasSubstr("! needs true or false"));
  EXPECT_THAT(Of("-true"), HasSubstr("- needs numbers"));
  EXPECT_THAT(Of("1 ? 2 : 3"), HasSubstr("condition before ?"));
  EXPECT_THAT(Of("true ? 2 : false"), HasSubstr("one type"));
  EXPECT_THAT(Of("1 < 2 < 3"), HasSubstr("one type"));
  EXPECT_THAT(Of("true ? 2"), HasSubstr("':' is missing"));
  EXPECT_THAT(Of("(1"), HasSubstr("')' is missing"));
  EXPECT_THAT(Of("has(1)"), HasSubstr("a name is missing"));
  EXPECT_THAT(Of("has usage.in"), HasSubstr("'(' is missing"));
  EXPECT_THAT(Of("1 2"), HasSubstr("column 3: '2' is not expected"));
  EXPECT_THAT(Of("1.5"), HasSubstr("'1.5' is not a whole number"));
  EXPECT_THAT(Of("9223372036854775808"), HasSubstr("not a whole number of 64 bits"));
  EXPECT_THAT(Of("0x"), HasSubstr("'0x' is not a whole number"));
  EXPECT_THAT(Of("\"text\""), HasSubstr("'\"' is not expected"));
}

TEST(Cel, LimitsHoldAndOneLessIsFine) {
  const auto nested = [](int depth) { return std::string(size_t(depth), '(') + "1" + std::string(size_t(depth), ')'); };
  EXPECT_EQ(Of(nested(CelExpression::kDepthMax / 2 - 1)),
            "1");  // a bracket is an operand and an expression: two levels
  EXPECT_THAT(Of(nested(CelExpression::kDepthMax / 2)), HasSubstr("nested deeper than 32"));
  EXPECT_THAT(Of(std::string(4000, '!')), HasSubstr("nested deeper"));
  std::string sum = "1";
  for (size_t nodes = 1; nodes + 2 <= CelExpression::kNodesMax; nodes += 2) sum += "+1";
  EXPECT_EQ(Of(sum), "128");
  EXPECT_THAT(Of(sum + "+1"), HasSubstr("more than 256"));
  EXPECT_EQ(Of(std::string(CelExpression::kBytesMax - 1, ' ') + "1"), "1");
  EXPECT_THAT(Of(std::string(CelExpression::kBytesMax, ' ') + "1"), HasSubstr("longer than 4096"));
}

}  // namespace
}  // namespace sluice::schedule

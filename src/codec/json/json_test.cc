#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "codec/json/dom.h"
#include "codec/json/reader.h"
#include "codec/json/write.h"

namespace sluice::codec {
namespace {

using testing::HasSubstr;

std::string Quoted(std::string_view text) {
  std::string out;
  AppendQuoted(out, text);
  return out;
}

std::string Number(double value) {
  std::string out;
  AppendDouble(out, value);
  return out;
}

TEST(Write, EscapesWhatJsonDemandsAndNothingElse) {
  EXPECT_EQ(Quoted("plain é 😀"), "\"plain é 😀\"");
  EXPECT_EQ(Quoted("a\"b\\c\n\r\t\b\f\x01\x1f"), R"("a\"b\\c\n\r\t\b\f\u0001\u001f")");
  EXPECT_EQ(Quoted(std::string_view("\0", 1)), R"("\u0000")");
}

TEST(Write, ReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(Quoted("a\xff"), "\"a\xef\xbf\xbd\"");
  EXPECT_EQ(Quoted("\xc3"), "\"\xef\xbf\xbd\"");                          // cut
  EXPECT_EQ(Quoted("\xed\xa0\x80").find("\xed"), std::string::npos);      // a surrogate
  EXPECT_EQ(Quoted("\xc0\xaf"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");          // overlong
  EXPECT_EQ(Quoted("\xf4\x90\x80\x80").find("\xf4"), std::string::npos);  // beyond U+10FFFF
}

TEST(Write, NumbersLookLikePythons) {
  EXPECT_EQ(Number(0), "0.0");
  EXPECT_EQ(Number(-1), "-1.0");
  EXPECT_EQ(Number(static_cast<double>(-1.98757779598236F)), "-1.9875777959823608");
  EXPECT_EQ(Number(0.0001), "0.0001");
  EXPECT_EQ(Number(0.00001), "1e-05");
  EXPECT_EQ(Number(1e15), "1000000000000000.0");
  EXPECT_EQ(Number(1e22), "1e+22");
  EXPECT_EQ(Number(std::numeric_limits<double>::infinity()), "null");
  EXPECT_EQ(Number(std::numeric_limits<double>::quiet_NaN()), "null");
}

TEST(Write, PlacesCommas) {
  std::string out = "prefix ";
  JsonWriter writer(out);
  const std::array<int, 2> ints = {1, -2};
  writer.BeginObject().Field("a", 1).Field("b", "x,").Key("c").BeginArray().EndArray().Key("d").BeginArray();
  writer.BeginObject().EndObject().Null().Bool(true).Raw("{\"r\":1}").EndArray().Field("e", nullptr);
  writer.Key("f").Ints(std::span<const int>(ints)).Field("g", 0.5).EndObject();
  EXPECT_EQ(out, R"(prefix {"a":1,"b":"x,","c":[],"d":[{},null,true,{"r":1}],"e":null,"f":[1,-2],"g":0.5})");
}

TEST(Write, ValidPrefixStopsInsideACharacter) {
  EXPECT_EQ(ValidUtf8Prefix("ab"), 2u);
  EXPECT_EQ(ValidUtf8Prefix("a\xc3"), 1u);
  EXPECT_EQ(ValidUtf8Prefix("a\xc3\xa9"), 3u);
  EXPECT_EQ(ValidUtf8Prefix("\xf0\x9f\x98"), 0u);
}

TEST(Dom, KeepsOrderAndTakesTheLastOfRepeatedKeys) {
  const auto parsed = ParseDom(R"({"b":1,"a":2,"b":{"x":3},"c":[1,2]})", {});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(Dump(*parsed), R"({"b":{"x":3},"a":2,"c":[1,2]})");
}

TEST(Dom, FaultsNameTheByte) {
  const auto cut = ParseDomWithFault(R"({"model": "smollm2", "messages": [)", {});
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().offset, 34u);
  const auto bad = ParseDom(R"({"a":tru})", {});
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().message, HasSubstr("at byte 8"));
  EXPECT_FALSE(ParseDom("", {}));
  EXPECT_FALSE(ParseDom("{} x", {}));
  EXPECT_FALSE(ParseDom("[1,]", {}));
  EXPECT_FALSE(ParseDom("\"\xff\"", {}));
  EXPECT_FALSE(ParseDom("NaN", {}));
}

TEST(Dom, LimitsHold) {
  DomLimits limits;
  limits.depth_max = 3;
  EXPECT_TRUE(ParseDom("[[[1]]]", limits));
  EXPECT_FALSE(ParseDom("[[[[1]]]]", limits));
  limits.values_max = 4;
  EXPECT_TRUE(ParseDom("[1,2,3]", limits));
  const auto many = ParseDom("[1,2,3,4]", limits);
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().code, Code::kTooLarge);
  limits.bytes_max = 8;
  EXPECT_TRUE(ParseDom("\"123456\"", limits));
  EXPECT_EQ(ParseDom("\"1234567\"", limits).error().code, Code::kTooLarge);
}

TEST(Reader, ReadsFieldsOfEveryType) {
  JsonReader reader;
  const auto root =
      reader.Parse(R"({"s":"a\u00e9\n","i":-3,"u":18446744073709551615,"d":1.5,"b":true,"n":null,"a":[1,"x"]})");
  ASSERT_TRUE(root) << root.error().message;
  EXPECT_EQ(root->Find("s")->String(), "aé\n");
  EXPECT_EQ(root->Find("i")->Int(), -3);
  EXPECT_EQ(root->Find("u")->Int(), std::nullopt);
  EXPECT_EQ(root->Find("u")->Number(), 18446744073709551615.0);
  EXPECT_EQ(root->Find("d")->Number(), 1.5);
  EXPECT_EQ(root->Find("b")->Bool(), true);
  EXPECT_EQ(root->Find("n")->type(), JsonValue::Type::kNull);
  EXPECT_EQ(root->Find("a")->Count(), 2u);
  EXPECT_EQ(root->Count(), 7u);
  EXPECT_FALSE(root->Find("zz"));
  EXPECT_FALSE(root->Find("s")->Find("x"));
  EXPECT_EQ(root->Find("s")->Bool(), std::nullopt);
}

TEST(Reader, TakesTheLastOfRepeatedKeys) {
  JsonReader reader;
  const auto root = reader.Parse(R"({"model":"shown","model":"meant"})");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->Find("model")->String(), "meant");
}

TEST(Reader, RefusesWithTheByte) {
  JsonReader reader;
  const auto bad = reader.Parse(R"({"a":tru})");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, Code::kInvalidArgument);
  EXPECT_THAT(bad.error().message, HasSubstr("at byte 8"));
  EXPECT_FALSE(reader.Parse("\"\xff\""));
  EXPECT_FALSE(reader.Parse(""));
  EXPECT_TRUE(reader.Parse("[]"));  // and goes on
}

TEST(Reader, LimitsHold) {
  JsonReader reader({.bytes_max = 64, .depth_max = 4});
  EXPECT_TRUE(reader.Parse("[[[1]]]"));
  EXPECT_FALSE(reader.Parse("[[[[[[1]]]]]]"));
  EXPECT_EQ(reader.Parse(std::string(65, ' ')).error().code, Code::kTooLarge);
}

TEST(Reader, GrowsAndShrinks) {
  JsonReader reader;
  const std::string large = "[\"" + std::string(3 << 20, 'x') + "\"]";
  const auto big = reader.Parse(large);
  ASSERT_TRUE(big);
  EXPECT_EQ(big->Count(), 1u);
  EXPECT_TRUE(reader.Parse("{\"a\":1}"));
}

}  // namespace
}  // namespace sluice::codec

#include "codec/yaml/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "codec/yaml/reader.h"

namespace sluice::codec::yaml {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Yaml, CanonicalTextIgnoresLayoutOnly) {
  const auto text = [](std::string_view yaml) { return CanonicalText(*Parse(yaml)); };
  EXPECT_EQ(text("a: 1\nb: [x, y]  # why\n"), text("{b: [x, y], a: 1}"));
  EXPECT_NE(text("a: 1"), text("a: '1'"));
  EXPECT_NE(text("[a, b]"), text("['a, b']"));
  EXPECT_NE(text("[a, b]"), text("[b, a]"));
  EXPECT_NE(text("a:"), text("{}"));
}

TEST(Yaml, KeepsWhereEachValueStood) {
  const auto node = Parse("a: 1\nb:\n  - x\n  - {c: \"2\"}\n");
  ASSERT_TRUE(node) << node.error().message;
  const Node* list = node->Find("b");
  ASSERT_NE(list, nullptr);
  EXPECT_EQ(list->items[1].Find("c")->line, 4);
  EXPECT_EQ(list->items[1].Find("c")->column, 9);
  EXPECT_TRUE(list->items[1].Find("c")->quoted);
  EXPECT_FALSE(node->Find("a")->quoted);
}

TEST(Yaml, ReadsJsonAndSeveralDocuments) {
  EXPECT_EQ(Parse(R"({"a": {"b": [1, 2]}})")->Find("a")->Find("b")->items.size(), 2u);
  EXPECT_EQ(ParseAll("a: 1\n---\nb: 2\n")->size(), 2u);
  EXPECT_THAT(Parse("a: 1\n---\nb: 2\n").error().message, HasSubstr("second begins here (line 3)"));
  EXPECT_TRUE(Parse("")->IsNull());
}

TEST(Yaml, RefusesDuplicateKeysWithTheLine) {
  EXPECT_EQ(Parse("a: 1\nb: 2\na: 3\n").error().message, "YAML: duplicate key \"a\" (line 3)");
}

TEST(Yaml, LimitsHoldAtTheLimitAndFailOneBeyond) {
  EXPECT_TRUE(Parse("[[1]]", {.depth_max = 2}));
  EXPECT_THAT(Parse("[[[1]]]", {.depth_max = 2}).error().message, HasSubstr("nested deeper than 2"));
  EXPECT_TRUE(Parse("[1,2]", {.nodes_max = 3}));
  EXPECT_THAT(Parse("[1,2,3]", {.nodes_max = 3}).error().message, HasSubstr("more than 3 values"));
  EXPECT_TRUE(Parse("abcd", {.bytes_max = 4}));
  EXPECT_EQ(Parse("abcde", {.bytes_max = 4}).error().code, Code::kTooLarge);
}

TEST(Yaml, AliasesCountAsWhatTheyStandFor) {
  std::string bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string up = std::to_string(i), down = std::to_string(i - 1);
    bomb += "a" + up + ": &a" + up + " [*a" + down + ",*a" + down + ",*a" + down + ",*a" + down + "]\n";
  }
  EXPECT_THAT(Parse(bomb, {.nodes_max = 5000}).error().message, HasSubstr("more than 5000 values"));
  EXPECT_THAT(Parse("a: &a [*a]").error().message, HasSubstr("line 1"));
}

TEST(Yaml, MergeKeysGiveWayToTheMapsOwn) {
  const auto node = Parse("base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\n");
  ASSERT_TRUE(node) << node.error().message;
  EXPECT_EQ(node->Find("use")->Find("x")->scalar, "1");
  EXPECT_EQ(node->Find("use")->Find("y")->scalar, "3");
}

TEST(Yaml, SyntaxErrorsNameTheLine) {
  EXPECT_THAT(Parse("a: 1\nb: [1, 2\n").error().message, HasSubstr("(line"));
  EXPECT_THAT(Parse(std::string_view("a: 1\n\0", 6)).error().message, HasSubstr("zero byte (line 2)"));
}

TEST(Reader, TypedFieldsWithDefaults) {
  const auto node = Parse("n: 5\nf: 0.25\nb: true\ns: text\nd: 1m30s\nq: 4Gi\nl: [a, b]\nm: {k: v}\n");
  Problems problems;
  MapReader reader(*node, "", problems);
  EXPECT_EQ(reader.Int("n", 1), 5);
  EXPECT_EQ(reader.Int("absent", 7), 7);
  EXPECT_EQ(reader.Number("f", 1), 0.25);
  EXPECT_TRUE(reader.Bool("b", false));
  EXPECT_EQ(reader.String("s"), "text");
  EXPECT_EQ(reader.DurationOf("d", Duration(0)), std::chrono::seconds(90));
  EXPECT_EQ(reader.Quantity("q", 0), int64_t{4} << 30);
  EXPECT_THAT(reader.Strings("l"), ElementsAre("a", "b"));
  EXPECT_EQ(reader.StringMap("m").at("k"), "v");
  reader.Finish();
  EXPECT_TRUE(problems.ok()) << problems.ToStatus("x").error().message;
}

TEST(Reader, ErrorsCarryPathValueAndLine) {
  const auto node = Parse("plugins:\n- parameters:\n    lruSize: abc\n    limit: 900\n    lruSiz: 1\n");
  Problems problems;
  MapReader root(*node, "", problems);
  root.Each("plugins", [&](const Node& item, const std::string& path) {
    MapReader plugin(item, path, problems);
    MapReader parameters = plugin.Map("parameters");
    parameters.Int("lruSize", 1024);
    parameters.Int("limit", 1, {.min = 0, .max = 10});
    parameters.Finish();
    plugin.Finish();
  });
  root.Finish();
  ASSERT_EQ(problems.errors().size(), 3u);
  EXPECT_EQ(problems.errors()[0].Text(), "plugins[0].parameters.lruSize: expected an integer, got \"abc\" (line 3)");
  EXPECT_EQ(problems.errors()[1].Text(),
            "plugins[0].parameters.limit: expected an integer from 0 to 10, got \"900\" (line 4)");
  EXPECT_EQ(problems.errors()[2].Text(),
            "plugins[0].parameters.lruSiz: unknown field; did you mean 'lruSize'? (line 5)");
  const Status status = problems.ToStatus("epp.yaml");
  EXPECT_EQ(status.error().code, Code::kInvalidArgument);
  EXPECT_EQ(status.error().param, "plugins[0].parameters.lruSize");
}

TEST(Reader, StrictScalars) {
  const auto node = Parse("a: \"5\"\nb: yes\nc: -1s\nd: -5\ne: {}\nf: 1.5\n");
  Problems problems;
  MapReader reader(*node, "", problems);
  reader.Int("a", 0);                   // a quoted number is a string
  reader.Bool("b", false);              // yes is a string in YAML 1.2
  reader.DurationOf("c", Duration(0));  // negative
  reader.Quantity("d", 0);              // negative
  reader.String("e");                   // a map
  reader.Int("f", 0);                   // a fraction
  reader.RequiredString("absent");
  EXPECT_EQ(problems.errors().size(), 7u);
  EXPECT_THAT(problems.errors()[2].Text(), HasSubstr("must be non-negative"));
  EXPECT_THAT(problems.errors()[3].Text(), HasSubstr("d: must be non-negative"));
  EXPECT_THAT(problems.errors()[6].Text(), HasSubstr("absent: is required and missing"));
}

TEST(Reader, DurationsAndQuantities) {
  EXPECT_EQ(ParseDuration("1h2m3.5s"), Duration(3723'500'000'000));
  EXPECT_EQ(ParseDuration("0"), Duration(0));
  for (const char* bad : {"", "5", "s", "5x", "1m5", "."}) EXPECT_FALSE(ParseDuration(bad)) << bad;
  EXPECT_EQ(ParseQuantity("1G"), 1'000'000'000);
  EXPECT_EQ(ParseQuantity("1e6"), 1'000'000);
  EXPECT_EQ(ParseQuantity("0.5Ki"), 512);
  for (const char* bad : {"", "G", "-1", "1Xi", "0.5", "99999999E"}) EXPECT_FALSE(ParseQuantity(bad)) << bad;
}

TEST(Reader, SectionsNotCarriedOutWarnWithTheirPath) {
  const auto node = Parse("a: 1\nflow: {x: 1}\n");
  Problems problems;
  MapReader reader(*node, "spec", problems);
  reader.Int("a", 0);
  reader.NotCarriedOut("flow", "is not carried out by this version");
  reader.NotCarriedOut("absent", "is not carried out by this version");
  reader.Finish();
  ASSERT_EQ(problems.warnings().size(), 1u);
  EXPECT_EQ(problems.warnings()[0].Text(), "spec.flow: is not carried out by this version (line 2)");
  EXPECT_TRUE(problems.ok());
}

}  // namespace
}  // namespace sluice::codec::yaml

#include "openai/tool_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::openai {
namespace {

const ToolMarkers kMarkers = {"<tool_call>", "</tool_call>"};

std::function<std::string()> CountingIds() {
  return [n = 0]() mutable { return "id" + std::to_string(++n); };
}

struct Streamed {
  std::string content;
  std::vector<WholeCall> calls;
  size_t deltas = 0;
};

Streamed Stream(std::string_view text, size_t piece) {
  ToolParser parser(kMarkers, CountingIds());
  Streamed got;
  const auto absorb = [&](const ToolOutput& out) {
    got.content += out.content;
    for (const ToolDelta& delta : out.deltas) {
      ++got.deltas;
      if (!delta.id.empty()) got.calls.push_back({delta.id, delta.name, ""});
      ASSERT_EQ(static_cast<size_t>(delta.index), got.calls.size() - 1);
      got.calls.back().arguments += delta.arguments;
    }
  };
  for (size_t at = 0; at < text.size(); at += piece) {
    ToolOutput out;
    parser.Feed(text.substr(at, piece), out);
    absorb(out);
  }
  ToolOutput out;
  parser.Finish(out);
  absorb(out);
  return got;
}

TEST(ToolParser, TheSameWhateverThePieces) {
  const std::string text =
      "Sure. <tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"O\\\"s}lo\", \"n\": [1, "
      "{}]}}\n</tool_call>\n"
      "<tool_call>{\"name\":\"b\",\"arguments\":{}}</tool_call>";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    const Streamed got = Stream(text, piece);
    EXPECT_EQ(got.content, "Sure. ") << piece;
    ASSERT_EQ(got.calls.size(), 2u) << piece;
    EXPECT_EQ(got.calls[0].name, "get_weather");
    EXPECT_EQ(got.calls[0].arguments, "{\"city\": \"O\\\"s}lo\", \"n\": [1, {}]}");
    EXPECT_EQ(got.calls[1].name, "b");
    EXPECT_EQ(got.calls[1].arguments, "{}");
    EXPECT_NE(got.calls[0].id, got.calls[1].id);
  }
}

TEST(ToolParser, NameGoesFirstAndArgumentsFollowInPieces) {
  ToolParser parser(kMarkers, CountingIds());
  ToolOutput out;
  parser.Feed("<tool_call>{\"name\": \"f\", \"arg", out);
  EXPECT_TRUE(out.deltas.empty());
  parser.Feed("uments\": {\"a", out);
  ASSERT_EQ(out.deltas.size(), 2u);
  EXPECT_EQ(out.deltas[0].name, "f");
  EXPECT_EQ(out.deltas[0].arguments, "");
  EXPECT_EQ(out.deltas[1].arguments, "{\"a");
  EXPECT_TRUE(parser.InCall());
  ToolOutput more;
  parser.Feed("\": 1}", more);
  ASSERT_EQ(more.deltas.size(), 1u);
  EXPECT_EQ(more.deltas[0].arguments, "\": 1}");
  EXPECT_FALSE(parser.InCall());
}

TEST(ToolParser, PartialMarkersAreHeldBackAndComeOutIfNothingFollows) {
  ToolParser parser(kMarkers, CountingIds());
  ToolOutput out;
  parser.Feed("a < b <tool_", out);
  EXPECT_EQ(out.content, "a < b ");
  parser.Feed("box>", out);
  EXPECT_EQ(out.content, "a < b <tool_box>");
  parser.Feed("<too", out);
  parser.Finish(out);
  EXPECT_EQ(out.content, "a < b <tool_box><too");
}

TEST(ToolParser, WhatIsNoCallIsContent) {
  for (const char* text :
       {"<tool_call>not json</tool_call>", "<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call> x",
        "<tool_call>{\"nam", "<tool_call>"}) {
    for (const size_t piece : {1, 3, 100}) {
      const Streamed got = Stream(text, piece);
      EXPECT_EQ(got.content, text) << piece;
      EXPECT_TRUE(got.calls.empty());
    }
  }
}

TEST(ToolParser, OtherOrderOtherNameAndMissingEnd) {
  const Streamed order = Stream("<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>", 1);
  ASSERT_EQ(order.calls.size(), 1u);
  EXPECT_EQ(order.calls[0].arguments, "{\"a\":1}");
  EXPECT_EQ(order.content, "");
  const Streamed parameters = Stream("<tool_call>{\"name\":\"f\",\"parameters\":{}}", 4);
  ASSERT_EQ(parameters.calls.size(), 1u);
  EXPECT_EQ(parameters.calls[0].arguments, "{}");
  const Streamed bare = Stream("<tool_call>{\"name\":\"f\"}", 4);
  ASSERT_EQ(bare.calls.size(), 1u);
  EXPECT_EQ(bare.calls[0].arguments, "{}");
}

TEST(ToolParser, WholeTextCutInItsArgumentsStaysContent) {
  const std::string text = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": \"french_land";  // vLLM's recording
  const WholeOutput got = ParseToolCalls(text, kMarkers, CountingIds());
  EXPECT_EQ(got.content, text);
  EXPECT_TRUE(got.calls.empty());
  const WholeOutput whole = ParseToolCalls(text + "\"}\n</tool_call>", kMarkers, CountingIds());
  EXPECT_EQ(whole.content, "");
  ASSERT_EQ(whole.calls.size(), 1u);
  EXPECT_EQ(whole.calls[0].arguments, "\"french_land\"");
}

TEST(ToolParser, ANextCallCutInItsMarkerIsNotContent) {
  const Streamed got = Stream("<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool", 3);
  EXPECT_EQ(got.content, "");
  EXPECT_EQ(got.calls.size(), 1u);
}

TEST(ToolParser, TextAfterACallIsContent) {
  const Streamed got = Stream("<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n\nDone.\n", 2);
  EXPECT_EQ(got.content, "\n\nDone.\n");
  EXPECT_EQ(got.calls.size(), 1u);
}

}  // namespace
}  // namespace sluice::openai

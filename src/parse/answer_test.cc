// What is read from answers and put back into them: the same for every way to split their bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "openai/golden.h"
#include "parse/model_restorer.h"
#include "parse/proto_reader.h"
#include "parse/usage_reader.h"

namespace sluice::parse {
namespace {

using openai::GoldenResponse;

struct Counts {
  int64_t prompt, completion, cached;
  bool operator==(const Counts&) const = default;
};
void PrintTo(const Counts& c, std::ostream* out) { *out << c.prompt << '/' << c.completion << '/' << c.cached; }

constexpr Counts kNothing = {-1, -1, -1};

Counts Read(std::string_view answer, size_t piece, UsageStyle style = UsageStyle::kText) {
  UsageReader reader(style);
  for (size_t at = 0; at < answer.size(); at += piece) reader.Append(answer.substr(at, piece));
  const auto usage = reader.Find();
  return usage ? Counts{usage->prompt_tokens, usage->completion_tokens, usage->cached_tokens} : kNothing;
}

void ExpectUsage(std::string_view answer, const Counts& counts, UsageStyle style = UsageStyle::kText) {
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, size_t{100}, answer.size() + 1}) {
    EXPECT_EQ(Read(answer, piece, style), counts) << "in pieces of " << piece << ": " << answer.substr(0, 200);
  }
}

TEST(UsageReader, WhatVllmSends) {
  ExpectUsage(GoldenResponse("messages"), {37, 12, 32});
  ExpectUsage(GoldenResponse("messages-stream"), {37, 8, 32});
  ExpectUsage(GoldenResponse("responses"), {37, 12, 32});
  ExpectUsage(GoldenResponse("responses-stream"), {37, 8, 32});
  ExpectUsage(GoldenResponse("inference-generate-minimal"), {8, 3, 0});
  ExpectUsage(GoldenResponse("chat-stream"), kNothing);  // not asked for
  ExpectUsage(GoldenResponse("messages-count-tokens"), kNothing);
}

TEST(UsageReader, OpenAiAloneInTheLastEventAndInEach) {
  ExpectUsage(R"({"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":null}})", {3, 4, 0});
  ExpectUsage(R"({ "usage" : { "prompt_tokens" : 3 , "total_tokens" : 3 } })", {3, 0, 0});
  ExpectUsage(
      "data: {\"usage\":null}\n\ndata: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,"
      "\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\ndata: [DONE]\n\n",
      {7, 2, 4});
  ExpectUsage(
      "data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1}}\r\n\r\n: note\r\n"
      "data:{\"usage\":{\"prompt_tokens\":7,\r\ndata:\"completion_tokens\":2}}\r\n\r\n",
      {7, 2, 0});
}

TEST(UsageReader, AnthropicsPromptIncludesWhatItsCacheHeld) {
  ExpectUsage(
      "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":"
      "{\"input_tokens\":5,\"cache_creation_input_tokens\":10,\"cache_read_input_tokens\":100,"
      "\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":"
      "{\"output_tokens\":9}}\n\n",
      {115, 9, 100});
}

TEST(UsageReader, SglangsMetaInfo) {
  ExpectUsage(R"({"text":"x","meta_info":{"id":"1","finish_reason":{"type":"stop"},"prompt_tokens":6,)"
              R"("completion_tokens":2,"cached_tokens":1}})",
              {6, 2, 1});
  ExpectUsage(
      "data: {\"meta_info\":{\"prompt_tokens\":6,\"completion_tokens\":1,\"cached_tokens\":0}}\n\n"
      "data: {\"meta_info\":{\"prompt_tokens\":6,\"completion_tokens\":2,\"cached_tokens\":0}}\n\n",
      {6, 2, 0});
  ExpectUsage(R"([{"meta_info":{"prompt_tokens":6,"completion_tokens":2}},)"
              R"({"meta_info":{"prompt_tokens":5,"completion_tokens":3}}])",
              {11, 5, 0});
}

TEST(UsageReader, TextThatLooksLikeUsageIsText) {
  ExpectUsage(R"({"choices":[{"text":"{\"usage\":{\"prompt_tokens\":999}}"}]})", kNothing);
  ExpectUsage(R"({"choices":[{"usage":{"prompt_tokens":999}}],"other":{"usage":{"prompt_tokens":999}}})", kNothing);
  ExpectUsage("data: {\"a\":\"\\\\\"}\n\nusage: {\"usage\":{\"prompt_tokens\":999}}\n\n", kNothing);
}

TEST(UsageReader, WhatIsUnderOtherKeysIsPassedOver) {
  const std::string text = R"(a long text with \"usage\":{\"prompt_tokens\":1}} ]] \\\\)" + std::string(90, 'x');
  const std::string choices = R"("choices":[{"message":{"content":")" + text +
                              R"(","usage":{"prompt_tokens":5}}},[],)" + "\n {\"a\": [1, {\"usage\": {}}]}]";
  const std::string usage = R"("usage":{"prompt_tokens":7,"completion_tokens":2,"x":{"prompt_tokens":9}})";
  ExpectUsage("{" + choices + "," + usage + "}", {7, 2, 0});
  ExpectUsage("{" + usage + "," + choices + "}", {7, 2, 0});
  ExpectUsage("{\"response\":{" + choices + "," + usage + "}}", {7, 2, 0});
  ExpectUsage("{\"other\":{" + usage + "}}", kNothing);
  ExpectUsage("{\"" + text + "\":[\"" + text + "\"]," + usage + "}", {7, 2, 0});
  ExpectUsage("data: {\"choices\":[\"" + text + "\"]}\n\ndata: {" + usage + "}\n\n", {7, 2, 0});
}

TEST(UsageReader, WhatIsNoCountIsNone) {
  ExpectUsage(R"({"usage":{"prompt_tokens":-1}})", kNothing);
  ExpectUsage(R"({"usage":{"prompt_tokens":1e3}})", kNothing);
  ExpectUsage(R"({"usage":{"prompt_tokens":"7"}})", kNothing);
  ExpectUsage(R"({"usage":{"prompt_tokens":99999999999999999999999999999999}})", kNothing);
  ExpectUsage(R"({"usage":{"prompt_tokens":7)", kNothing);  // cut off
  ExpectUsage("", kNothing);
  ExpectUsage(std::string(10'000, '[') + std::string(10'000, '}'), kNothing);
  ExpectUsage(R"({"a":)" + std::string(100, '[') + std::string(100, ']') + R"(,"usage":{"prompt_tokens":7}})",
              {7, 0, 0});
}

TEST(UsageReader, CountsEventsWithData) {
  UsageReader reader;
  reader.Append("data: {}\n\n: ping\n\nevent: x\ndata: 1\n\nda");
  reader.Append("ta: [DONE]\n\ndata: {\"cut\":");
  EXPECT_EQ(reader.events(), 2u);
}

TEST(UsageReader, WholeEventsThatItPassesOverChangeNothing) {
  constexpr std::string_view kEvents[] = {"data: {\"choices\":[{\"delta\":{\"content\":\"a \\\"usage\\\":{\"}}]}\n\n",
                                          "data: {\"choices\":[],\"usage\":null}\r\n\r\n",
                                          "event: message_delta\ndata: {\"x\":1}\n\n",
                                          "event: message_delta\r\ndata: {\"usage\":{\"output_tokens\":5}}\r\n\r\n",
                                          "data:{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n",
                                          "data: {\"meta_info\":{\"prompt_tokens\":8,\"completion_tokens\":3}}\n\n",
                                          "data: {\"message\":\ndata: {\"usage\":{\"input_tokens\":9}}}\n\n",
                                          ": usage\n\n",
                                          "data:\n\n",
                                          "event: alone\n\n",
                                          "event: a\rdata: x\r\r\ndata: y\n\n",
                                          "data: \"usage\n\n",
                                          "data: a\rb\n\n",
                                          "data: [DONE]\n\n"};
  Rng rng(3);
  for (int round = 0; round < 500; ++round) {
    std::string answer;
    for (uint64_t n = rng.Below(8); n > 0; --n) answer += kEvents[rng.Below(std::size(kEvents))];
    UsageReader bytes, pieces;
    for (const char c : answer) bytes.Append(std::string_view(&c, 1));
    for (std::string_view rest = answer; !rest.empty();) {
      const size_t n = std::min<size_t>(rest.size(), 1 + rng.Below(200));
      pieces.Append(rest.substr(0, n));
      rest.remove_prefix(n);
    }
    const auto a = bytes.Find(), b = pieces.Find();
    ASSERT_EQ(bytes.events(), pieces.events()) << answer;
    ASSERT_EQ(a.has_value(), b.has_value()) << answer;
    if (!a) continue;
    ASSERT_EQ(a->prompt_tokens, b->prompt_tokens) << answer;
    ASSERT_EQ(a->completion_tokens, b->completion_tokens) << answer;
  }
}

std::string Bytes(char tag, std::string_view bytes) {
  return std::string(1, static_cast<char>(tag << 3 | 2)) + static_cast<char>(bytes.size()) + std::string(bytes);
}
std::string Number(char tag, char value) { return {static_cast<char>(tag << 3), value}; }

TEST(UsageReader, VllmsGrpc) {
  const std::string chunk = GrpcFrame(Bytes(1, Number(2, 9) + Number(3, 1) + Number(4, 8)));
  const std::string complete = GrpcFrame(Bytes(2, Bytes(1, "\x01\x02") + Number(3, 9) + Number(4, 2) + Number(5, 8)));
  ExpectUsage(chunk + complete, {9, 2, 8}, UsageStyle::kVllmGrpc);
  ExpectUsage(GrpcFrame(Bytes(1, "abcd") + Number(2, 5)), {5, 0, 0}, UsageStyle::kVllmGrpc);  // EmbedResponse
  ExpectUsage(GrpcFrame("\xff\xff\xff"), kNothing, UsageStyle::kVllmGrpc);
  std::string compressed = complete;
  compressed[0] = 1;
  ExpectUsage(compressed + chunk, {9, 1, 8}, UsageStyle::kVllmGrpc);
  const std::string too_long = GrpcFrame(std::string(UsageReader::kGrpcMessageMax + 1, '\0'));
  EXPECT_EQ(Read(too_long + chunk, 4096, UsageStyle::kVllmGrpc), (Counts{9, 1, 8}));
}

TEST(UsageReader, VertexAroundOpenAi) {
  const std::string json = R"({"usage":{"prompt_tokens":3,"completion_tokens":4}})";
  ExpectUsage(GrpcFrame(Bytes(1, "application/json") + Bytes(2, json)), {3, 4, 0}, UsageStyle::kVertexGrpc);
  const std::string event = "data: " + json + "\n\n";
  ExpectUsage(GrpcFrame(Bytes(2, event.substr(0, 20))) + GrpcFrame(Bytes(2, event.substr(20))), {3, 4, 0},
              UsageStyle::kVertexGrpc);
  ExpectUsage(json, kNothing, UsageStyle::kNone);
}

std::string Restore(std::string_view answer, size_t piece, std::string_view from, std::string_view to) {
  ModelRestorer restorer(from, to);
  std::string out;
  for (size_t at = 0; at < answer.size(); at += piece) restorer.Append(answer.substr(at, piece), out);
  restorer.Finish(out);
  return out;
}

void ExpectRestored(std::string_view answer, std::string_view expected, std::string_view from = "target",
                    std::string_view to = "client \"x\"") {
  for (size_t piece = 1; piece < 40; ++piece) EXPECT_EQ(Restore(answer, piece, from, to), expected) << piece;
  EXPECT_EQ(Restore(answer, answer.size() + 1, from, to), expected);
}

TEST(ModelRestorer, JsonAndEventsHoweverTheyAreSplit) {
  ExpectRestored(R"({"id":1, "model" : "target","choices":[{"text":"\"model\":\"target\" target"}]})",
                 R"({"id":1, "model" : "client \"x\"","choices":[{"text":"\"model\":\"target\" target"}]})");
  ExpectRestored("data: {\"model\":\"target\"}\n\ndata: {\"model\":\"target\",\"a\":[]}\r\n\r\ndata: [DONE]\n\n",
                 "data: {\"model\":\"client \\\"x\\\"\"}\n\ndata: {\"model\":\"client \\\"x\\\"\",\"a\":[]}\r\n\r\n"
                 "data: [DONE]\n\n");
  ExpectRestored("event: message_start\ndata: {\"message\":{\"model\":\"target\"}}\n\n",
                 "event: message_start\ndata: {\"message\":{\"model\":\"client \\\"x\\\"\"}}\n\n");
  ExpectRestored(R"({"response":{"model":"t\u0061rget"}})", R"({"response":{"model":"client \"x\""}})");
  ExpectRestored(R"({"model":"org\/target"})", R"({"model":"m"})", "org/target", "m");
}

TEST(ModelRestorer, EverythingElseStaysAsItIs) {
  for (const std::string_view answer :
       {R"({"model":"target2"})", R"({"model":"targe"})", R"({"model":7,"x":"target"})", R"({"a":{"model":"target"}})",
        R"({"choices":[{"model":"target"}]})", R"({"target":"model"})", R"({"model":"targ)", R"({"model":")",
        "data: {\"model\":\"tar\n\nget\"}\n\n", R"({"model":["target"]})", "model: target\n\n", "target"}) {
    ExpectRestored(answer, answer);
  }
  const std::string long_name = R"({"model":")" + std::string(100'000, 'x') + R"("})";
  EXPECT_EQ(Restore(long_name, 10, "target", "c"), long_name);
}

TEST(ModelRestorer, HoldsBackNoMoreThanTheName) {
  ModelRestorer restorer("target", "c");
  std::string out;
  const std::string begin = R"({"model":")" + std::string(1000, 'x');
  restorer.Append(begin, out);
  EXPECT_EQ(out, begin);
  out.clear();
  restorer.Append("\",\"choices\":[{\"text\":\"streams on", out);
  EXPECT_EQ(out, "\",\"choices\":[{\"text\":\"streams on");
}

TEST(ModelRestorer, RecordedStreams) {
  for (const std::string name : {"chat-stream", "messages-stream", "responses-stream", "responses", "chat"}) {
    const std::string answer = GoldenResponse(name);
    const std::string restored = Restore(answer, 13, "smollm2", "gpt");
    EXPECT_EQ(restored.find("smollm2"), std::string::npos) << name;
    EXPECT_NE(restored.find("\"gpt\""), std::string::npos) << name;
    EXPECT_EQ(Restore(restored, 5, "gpt", "smollm2"), answer) << name;
  }
}

}  // namespace
}  // namespace sluice::parse

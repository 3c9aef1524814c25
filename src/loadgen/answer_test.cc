#include "loadgen/answer.h"

#include <gtest/gtest.h>

namespace sluice::loadgen {
namespace {

std::string Data(std::string_view json) { return "data: " + std::string(json) + "\n\n"; }
std::string Completion(std::string_view text, std::string_view finish = "null") {
  return Data(R"({"choices":[{"index":0,"text":")" + std::string(text) + R"(","finish_reason":)" + std::string(finish) +
              "}]}");
}
const std::string kDone = "data: [DONE]\n\n";

struct Piece {
  double at_s;
  std::string bytes;
};

Sample Read(const std::vector<Piece>& pieces, double end_s) {
  codec::JsonReader json;
  Sample sample;
  AnswerReader reader(sample, json);
  for (const Piece& piece : pieces) {
    if (!reader.Feed(piece.bytes, piece.at_s)) return sample;
  }
  reader.End(end_s);
  return sample;
}

TEST(Answer, TimesAndUsageOfACompletion) {
  const Sample s = Read({{0.5, Completion("a")},
                         {0.6, Completion("b")},
                         {0.8, Completion("c", R"("length")")},
                         {0.9, Data(R"({"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":4,)"
                                    R"("prompt_tokens_details":{"cached_tokens":32}}})") +
                                   kDone}},
                        1.0);
  EXPECT_EQ(s.failure, Failure::kNone) << s.failure_text;
  EXPECT_DOUBLE_EQ(s.ttft_s, 0.5);
  ASSERT_EQ(s.itl_s.size(), 2u);
  EXPECT_NEAR(s.itl_s[0], 0.1, 1e-6);
  EXPECT_NEAR(s.itl_s[1], 0.2, 1e-6);
  EXPECT_DOUBLE_EQ(s.e2e_s, 1.0);
  EXPECT_EQ(s.prompt_tokens, 40);
  EXPECT_EQ(s.output_tokens, 4) << "the server's count, not the number of pieces";
  EXPECT_EQ(s.cached_tokens, 32);
}

TEST(Answer, TheRoleOfAChatIsNotItsFirstText) {
  const Sample s = Read({{0.1, Data(R"({"choices":[{"delta":{"role":"assistant","content":""}}]})")},
                         {0.3, Data(R"({"choices":[{"delta":{"content":"Hi"}}]})")},
                         {0.4, Data(R"({"choices":[{"delta":{"tool_calls":[{"index":0}]}}]})")},
                         {0.5, Data(R"({"choices":[{"delta":{},"finish_reason":"stop"}]})") + kDone}},
                        0.5);
  EXPECT_EQ(s.failure, Failure::kNone) << s.failure_text;
  EXPECT_DOUBLE_EQ(s.ttft_s, 0.3);
  EXPECT_EQ(s.itl_s.size(), 1u);
  EXPECT_EQ(s.output_tokens, 2) << "without usage, pieces are counted";
  EXPECT_EQ(s.prompt_tokens, -1);
  EXPECT_EQ(s.cached_tokens, -1);
}

TEST(Answer, EventsSplitAnywhereGiveTheSame) {
  const std::string all = Completion("a") + Completion("b", R"("stop")") + kDone;
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    const Sample s = Read({{1, all.substr(0, cut)}, {2, all.substr(cut)}}, 3);
    ASSERT_EQ(s.failure, Failure::kNone) << cut << s.failure_text;
    ASSERT_EQ(s.output_tokens, 2) << cut;
  }
}

TEST(Answer, AStreamThatEndsInTheMiddleIsCut) {
  EXPECT_EQ(Read({{1, Completion("a")}}, 2).failure, Failure::kCut);
  EXPECT_EQ(Read({}, 2).failure, Failure::kCut);
  EXPECT_EQ(Read({{1, Completion("a", R"("stop")")}}, 2).failure, Failure::kCut) << "[DONE] is missing";
  EXPECT_EQ(Read({{1, Completion("a") + kDone}}, 2).failure, Failure::kCut) << "finish_reason is missing";
}

TEST(Answer, ErrorsInsideTheStreamAreSeen) {
  const Sample dead =
      Read({{1, Completion("a") + Data(R"({"error":{"message":"EngineDeadError","code":500}})") + kDone}}, 2);
  EXPECT_EQ(dead.failure, Failure::kStream);
  EXPECT_EQ(dead.failure_text, "EngineDeadError");
  const Sample aborted = Read({{1, Completion("a", R"("abort")") + kDone}}, 2);
  EXPECT_EQ(aborted.failure, Failure::kStream);
  EXPECT_EQ(Read({{1, Data("{not json")}}, 2).failure, Failure::kMalformed);
  EXPECT_EQ(Read({{1, Data(R"({"error":null,"choices":[{"text":"x","finish_reason":"stop"}]})") + kDone}}, 2).failure,
            Failure::kNone);
}

TEST(Answer, AnEventBeyondTheLimitIsMalformed) {
  const Sample s = Read({{1, "data: " + std::string(AnswerReader::kEventBytesMax + 1, 'x')}}, 2);
  EXPECT_EQ(s.failure, Failure::kMalformed);
}

TEST(Answer, StatusesBecomeKindsAndKeepTheServersWords) {
  codec::JsonReader json;
  const auto failed = [&json](int status, std::string_view body) {
    Sample sample;
    SetHttpFailure(sample, status, body, json);
    return sample;
  };
  EXPECT_EQ(failed(429, "").failure, Failure::kHttp429);
  EXPECT_EQ(failed(404, R"({"error":{"message":"no model x"}})").failure_text, "status 404: no model x");
  EXPECT_EQ(failed(404, R"({"detail":"Not Found"})").failure_text, "status 404: Not Found");
  EXPECT_EQ(failed(400, "").failure, Failure::kHttp4xx);
  EXPECT_EQ(failed(503, "<html>").failure, Failure::kHttp5xx);
  EXPECT_EQ(failed(503, "<html>").failure_text, "status 503");
  EXPECT_EQ(failed(302, "").failure, Failure::kMalformed);
  EXPECT_LE(failed(500, R"({"error":")" + std::string(1000, 'x') + "\"}").failure_text.size(), 200u);
}

}  // namespace
}  // namespace sluice::loadgen

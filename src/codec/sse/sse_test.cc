#include "codec/sse/sse.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::codec {
namespace {

std::vector<std::string> Datas(SseParser& parser, std::string_view bytes) {
  std::vector<std::string> out;
  EXPECT_TRUE(parser.Feed(bytes, [&](const SseEvent& event) { out.emplace_back(event.data); }));
  return out;
}

TEST(SseWriter, OneFieldALine) {
  std::string out;
  AppendSseData(out, "{\"a\":1}");
  EXPECT_EQ(out, "data: {\"a\":1}\n\n");
  out.clear();
  AppendSseData(out, "a\nb\r\nc\rd\n");
  EXPECT_EQ(out, "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
  out.clear();
  AppendSseData(out, "");
  EXPECT_EQ(out, "data: \n\n");
}

TEST(SseParser, SplitAtEveryByteAndEveryLineEnd) {
  const std::string streams[] = {"data: one\n\ndata: t\ndata:w\n\n: hello\n\ndata: [DONE]\n\n",
                                 "data: one\r\n\r\ndata: t\r\ndata:w\r\n\r\n: hello\r\n\r\ndata: [DONE]\r\n\r\n",
                                 "data: one\r\rdata: t\rdata:w\r\r: hello\r\rdata: [DONE]\r\r"};
  const std::vector<std::string> want = {"one", "t\nw", "[DONE]"};
  for (const std::string& stream : streams) {
    for (size_t cut = 0; cut <= stream.size(); ++cut) {
      SseParser parser(1024);
      auto got = Datas(parser, stream.substr(0, cut));
      for (auto& more : Datas(parser, stream.substr(cut))) got.push_back(std::move(more));
      EXPECT_EQ(got, want) << "cut at " << cut;
      EXPECT_FALSE(parser.InEvent());
    }
    SseParser parser(1024);
    std::vector<std::string> got;
    for (const char c : stream) {
      for (auto& more : Datas(parser, std::string_view(&c, 1))) got.push_back(std::move(more));
    }
    EXPECT_EQ(got, want);
  }
}

TEST(SseParser, TypesIdsAndTheByteOrderMark) {
  SseParser parser(1024);
  std::vector<std::string> got;
  const auto sink = [&](const SseEvent& event) {
    got.push_back(std::string(event.type) + "|" + std::string(event.data) + "|" + std::string(event.id));
  };
  ASSERT_TRUE(
      parser.Feed("\xef\xbb\xbf"
                  "event: x\nid: 7\ndata: a\n\ndata\n\nevent: lost\n\ndata:  b\n\nunknown: 1\n\n",
                  sink));
  EXPECT_EQ(got, (std::vector<std::string>{"x|a|7", "message||7", "message| b|7"}));
}

TEST(SseParser, SaysThatAnEventIsUnfinished) {
  SseParser parser(1024);
  EXPECT_TRUE(Datas(parser, "data: x\n").empty());
  EXPECT_TRUE(parser.InEvent());
}

TEST(SseParser, LimitIsOnOneEventAndSticks) {
  SseParser parser(16);
  EXPECT_EQ(Datas(parser, "data: 0123456789\n\ndata: 0123456789\n\n").size(), 2u);  // 16 bytes a line
  const auto ignore = [](const SseEvent&) {};
  const Status late = parser.Feed("data: 0123456789a", ignore);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kTooLarge);
  EXPECT_FALSE(parser.Feed("\n\n", ignore));
  SseParser lines(16);
  EXPECT_FALSE(lines.Feed("data: 1234567\ndata: 1234567\ndata: 1234567\n", ignore));
}

}  // namespace
}  // namespace sluice::codec

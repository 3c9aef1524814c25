// Messages against golden bytes of protobuf's own library (test/golden/extproc).
#include "extproc/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "extproc/proto_writer.h"

namespace sluice::extproc {
namespace {

using Kind = ProcessingRequest::Kind;
using ::testing::ElementsAre;
using ::testing::Optional;

std::string Golden(const std::string& wanted) {
  static const std::map<std::string, std::string> all = [] {
    std::ifstream file(SLUICE_SOURCE_DIR "/test/golden/extproc/messages.txt");
    std::map<std::string, std::string> out;
    std::string name, hex;
    while (file >> name >> hex) {
      std::string& bytes = out[name];
      for (size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
    return out;
  }();
  return all.at(wanted);
}

ProcessingRequest Read(const std::string& bytes) {
  ProcessingRequest out;
  const Status read = ReadProcessingRequest(bytes, out);
  EXPECT_TRUE(read) << read.error().message;
  return out;
}

TEST(Messages, ReadsHeads) {
  const std::string full = Golden("request-headers");
  const ProcessingRequest head = Read(full);
  EXPECT_EQ(head.kind, Kind::kRequestHeaders);
  ASSERT_EQ(head.headers.size(), 2u);
  EXPECT_EQ(head.headers[0].name, ":path");
  EXPECT_EQ(head.headers[1].name, "X-Mixed");
  EXPECT_EQ(head.headers[1].value, "Case");
  EXPECT_FALSE(head.end_of_stream);
  EXPECT_THAT(head.response_bodies_are_sent, Optional(true));

  const std::string lean = Golden("request-headers-lean");
  EXPECT_TRUE(Read(lean).end_of_stream);
  EXPECT_THAT(Read(lean).response_bodies_are_sent, Optional(false));

  const std::string plain = Golden("request-headers-plain-value");
  const ProcessingRequest values = Read(plain);
  EXPECT_EQ(values.headers[0].value, "text");
  EXPECT_EQ(values.headers[1].value, "y") << "raw_value goes first";
  EXPECT_EQ(values.response_bodies_are_sent, std::nullopt);
}

TEST(Messages, ReadsBodiesAndTrailers) {
  const std::string body = Golden("response-body");
  EXPECT_EQ(Read(body).kind, Kind::kResponseBody);
  EXPECT_EQ(Read(body).body, "data: x\n\n");
  EXPECT_FALSE(Read(body).end_of_stream);
  EXPECT_EQ(Read(Golden("request-trailers")).kind, Kind::kRequestTrailers);
  EXPECT_EQ(Read(Golden("response-trailers")).kind, Kind::kResponseTrailers);
}

TEST(Messages, ReadsTheSubsetHintByAddress) {
  const std::string subset = Golden("request-body-subset");
  const ProcessingRequest body = Read(subset);
  EXPECT_TRUE(body.end_of_stream);
  EXPECT_THAT(SubsetHint(body.metadata), Optional(ElementsAre("10.0.0.1", "2001:db8::1", "10.0.0.3")))
      << "what is no string is passed over";
  const std::string empty = Golden("request-body-empty-subset");
  EXPECT_THAT(SubsetHint(Read(empty).metadata), Optional(ElementsAre()));
  const std::string no_list = Golden("request-body-subset-no-list");
  EXPECT_EQ(SubsetHint(Read(no_list).metadata), std::nullopt);
  EXPECT_EQ(SubsetHint(""), std::nullopt);
}

TEST(Messages, ReadsTheServedEndpoint) {
  const std::string head = Golden("response-headers-served");
  EXPECT_EQ(ServedEndpoint(Read(head).metadata), "10.0.0.2:8000");
  EXPECT_EQ(ServedEndpoint(""), "");
}

TEST(Messages, WritesWhatProtobufWrites) {
  const auto written = [](auto write) {
    std::string out;
    write(out);
    return out;
  };
  const std::string long_value(300, 'v');
  EXPECT_EQ(written([&](std::string& out) {
              const HeadMutation mutation{.set = {{kDestination, "10.0.0.2:8000"}, {"long", long_value}},
                                          .remove = {"x-prefiller-host-port"},
                                          .clear_route_cache = true};
              const RoutingMetadata metadata{.destination = "10.0.0.2:8000", .scores = {}};
              WriteHeaders(Side::kRequest, mutation, &metadata, out);
            }),
            Golden("answer-request-headers"));
  EXPECT_EQ(written([](std::string& out) {
              WriteHeaders(Side::kResponse, {.set = {{"x-went-into-resp-headers", "true"}}, .remove = {}}, nullptr,
                           out);
            }),
            Golden("answer-response-headers"));
  EXPECT_EQ(written([](std::string& out) { WriteBody(Side::kRequest, std::string(1000, 'b'), true, out); }),
            Golden("answer-request-body"));
  EXPECT_EQ(written([](std::string& out) { WriteBody(Side::kResponse, "data: x\n\n", false, out); }),
            Golden("answer-response-body"));
  EXPECT_EQ(written([](std::string& out) { WriteBody(Side::kResponse, "", true, out); }), Golden("answer-empty-body"));
  EXPECT_EQ(written([](std::string& out) { WriteTrailers(Side::kRequest, out); }), Golden("answer-request-trailers"));
  EXPECT_EQ(written([](std::string& out) { WriteTrailers(Side::kResponse, out); }), Golden("answer-response-trailers"));
  EXPECT_EQ(written([](std::string& out) {
              WriteImmediate(429, "inference error: ResourceExhausted - full",
                             {{"x-llm-d-request-dropped-reason", "rejected-saturated"}}, out);
            }),
            Golden("answer-immediate"));
}

TEST(Messages, RefusesWhatIsNoMessage) {
  ProcessingRequest out;
  EXPECT_FALSE(ReadProcessingRequest("", out));
  EXPECT_FALSE(ReadProcessingRequest("\xff\xff\xff", out));
  EXPECT_FALSE(ReadProcessingRequest(Golden("response-body") + Golden("response-trailers"), out)) << "one of them";
  const std::string body = Golden("response-body");
  for (size_t size = 1; size < body.size(); ++size) {
    EXPECT_FALSE(ReadProcessingRequest(body.substr(0, size), out)) << size;
  }
}

TEST(Messages, LimitsHeaders) {
  const auto message = [](size_t headers) {
    std::string out;
    ProtoWriter writer(out);
    const size_t head = writer.Open(2);
    const size_t map = writer.Open(1);
    for (size_t i = 0; i < headers; ++i) writer.Bytes(1, "");
    writer.Close(map);
    writer.Close(head);
    return out;
  };
  ProcessingRequest out;
  EXPECT_TRUE(ReadProcessingRequest(message(kHeadersMax), out));
  const Status over = ReadProcessingRequest(message(kHeadersMax + 1), out);
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().message, "over 1000 headers in one message");
}

}  // namespace
}  // namespace sluice::extproc

#include "pool/endpoint_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::pool {
namespace {

using ::testing::HasSubstr;

TEST(EndpointFile, ReadsUpstreamsFormat) {
  const auto file = ParseEndpointFile(
      "endpoints:\n- name: a\n  address: 10.0.0.1\n  port: \"8000\"\n  labels: {llm-d.ai/role: decode}\n"
      "- {name: b, namespace: ns, address: 127.0.0.1, port: 8001}\n");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_TRUE(file->skipped.empty());
  ASSERT_EQ(file->endpoints.size(), 2u);
  EXPECT_EQ(file->endpoints[0].id, "default/a");
  EXPECT_EQ(file->endpoints[0].labels.at("llm-d.ai/role"), "decode");
  EXPECT_EQ(file->endpoints[1].id, "ns/b");
  EXPECT_EQ(file->endpoints[1].host_port(), "127.0.0.1:8001");
  EXPECT_TRUE(ParseEndpointFile("{\"endpoints\": []}")->endpoints.empty());
}

TEST(EndpointFile, WrongEntriesAreSkippedAndNamed) {
  const std::string text =
      "endpoints:\n"
      "- {name: ok, address: 10.0.0.1, port: 1}\n"
      "- {name: ok, address: 10.0.0.2, port: 1}\n"
      "- {name: host, address: example.org, port: 1}\n"
      "- {name: six, address: '::1', port: 1}\n"
      "- {name: port, address: 10.0.0.3, port: 65536}\n"
      "- {name: zero, address: 10.0.0.3, port: 0}\n"
      "- {address: 10.0.0.3, port: 1}\n"
      "- {name: typo, address: 10.0.0.4, port: 1, lables: {}}\n"
      "- text\n";
  const auto file = ParseEndpointFile(text);
  ASSERT_TRUE(file);
  EXPECT_EQ(file->endpoints.size(), 1u);
  EXPECT_EQ(file->endpoints[0].address, "10.0.0.1");
  EXPECT_GE(file->skipped.size(), 8u);
  EXPECT_EQ(file->skipped[0], "endpoints[1]: \"default/ok\" is listed twice; the first is kept (line 3)");
  EXPECT_EQ(file->skipped[1], "endpoints[2].address: expected an IPv4 address, got \"example.org\" (line 4)");
  EXPECT_THAT(file->skipped[3], HasSubstr("expected a port from 1 to 65535, got \"65536\""));
  EXPECT_THAT(file->skipped[6], HasSubstr("unknown field; did you mean 'labels'?"));
  EXPECT_THAT(ParseInitialEndpointFile(text).error().message, HasSubstr("example.org"));
}

TEST(EndpointFile, AnEndpointMaySayItsScheme) {
  const auto file = ParseEndpointFile(
      "endpoints:\n- {name: a, address: 10.0.0.1, port: 1}\n- {name: b, address: 10.0.0.1, port: 2, scheme: https}\n"
      "- {name: c, address: 10.0.0.1, port: 3, scheme: h2c}\n- {name: d, address: 10.0.0.1, port: 4, scheme: htps}\n");
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->endpoints.size(), 3u);
  EXPECT_EQ(file->endpoints[0].scheme, model::Scheme::kOfPool);
  EXPECT_EQ(file->endpoints[1].scheme, model::Scheme::kHttps);
  EXPECT_EQ(file->endpoints[2].scheme, model::Scheme::kH2c);
  ASSERT_EQ(file->skipped.size(), 1u);
  EXPECT_THAT(file->skipped[0], HasSubstr("endpoints[3].scheme"));
  EXPECT_THAT(file->skipped[0], HasSubstr("htps"));
  EXPECT_THAT(file->skipped[0], HasSubstr("https"));
}

TEST(EndpointFile, AFileThatCannotBeReadIsAnError) {
  EXPECT_FALSE(ParseEndpointFile("endpoints: [\n"));
  EXPECT_THAT(ParseEndpointFile("endpoint: []\n").error().message, HasSubstr("did you mean 'endpoints'?"));
  EXPECT_FALSE(ParseEndpointFile("endpoints: 5\n"));
  EXPECT_EQ(ParseEndpointFile(std::string(EndpointFile::kBytesMax + 1, ' ')).error().code, Code::kTooLarge);
}

TEST(EndpointList, InsideAConfigurationEveryMistakeIsAnError) {
  const auto read = [](std::string_view text) {
    return ReadEndpoints(*codec::yaml::Parse(text), "parameters.endpoints");
  };
  const auto good = read("- {name: a, address: 10.0.0.1, port: '8000'}\n");
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(good->front().id, "default/a");
  const auto bad = read("- {name: a, address: host, port: '8000'}\n- {name: b, address: 10.0.0.1, port: '0'}\n");
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("parameters.endpoints[0].address"), std::string::npos) << bad.error().message;
  EXPECT_NE(bad.error().message.find("parameters.endpoints[1].port"), std::string::npos);
  EXPECT_FALSE(read("{a: b}"));
}

}  // namespace
}  // namespace sluice::pool

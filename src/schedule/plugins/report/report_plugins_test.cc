// The two plugins that report on answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using ::testing::ElementsAre;
using testing::Harness;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakePool;
using ::testing::Pair;
using testing::TextRequest;

std::string Reporter(const std::string& attributes) {
  return ConfigOf("plugins:\n- type: queue-scorer\n- {type: request-attribute-reporter, parameters: {attributes: " +
                  attributes + "}}\n");
}

ReportedAttributes Report(const std::string& attributes, const ResponseEnd& end) {
  Harness harness(Reporter(attributes));
  const auto pool = MakePool({{.name = "a"}});
  harness.Decide(TextRequest("r", "x"), pool);
  return OnResponseEnd(harness.state, harness.Dispatch(TextRequest("r", "x"), pool), end);
}

std::string ErrorOf(const std::string& attributes) {
  const auto config = LoadConfig(Reporter(attributes), BuiltinRegistry());
  return config ? "" : config.error().message;
}

TEST(AttributeReporter, ReportsWhatTheUsageGives) {
  const ResponseEnd end{.prompt_tokens = 100, .cached_tokens = 64, .output_tokens = 7};
  EXPECT_THAT(Report("[{key: {name: cost}, expression: 'usage.prompt_tokens + 4 * usage.completion_tokens'}]", end),
              ElementsAre(Pair("envoy.lb/cost", 128)));
  EXPECT_THAT(Report("[{key: {namespace: my.ns, name: fresh}, expression: 'usage.prompt_tokens - "
                     "usage.prompt_tokens_details.cached_tokens'}, {key: {name: t}, expression: usage.total_tokens}]",
                     end),
              ElementsAre(Pair("my.ns/fresh", 36), Pair("envoy.lb/t", 107)));
}

TEST(AttributeReporter, ZeroErrorsConditionsAndFailuresReportNothing) {
  const std::string plain = "[{key: {name: c}, expression: usage.output_tokens}]";
  EXPECT_THAT(Report(plain, {.output_tokens = 7}), ElementsAre(Pair("envoy.lb/c", 7)));
  EXPECT_THAT(Report(plain, {.output_tokens = 0}), IsEmpty());
  EXPECT_THAT(Report(plain, {}), IsEmpty()) << "the engine reported no usage";
  EXPECT_THAT(Report(plain, {.failed = true, .output_tokens = 7}), IsEmpty());
  const std::string conditional =
      "[{key: {name: c}, expression: usage.output_tokens, condition: 'usage.prompt_tokens > 10'}]";
  EXPECT_THAT(Report(conditional, {.prompt_tokens = 11, .output_tokens = 7}), ElementsAre(Pair("envoy.lb/c", 7)));
  EXPECT_THAT(Report(conditional, {.prompt_tokens = 10, .output_tokens = 7}), IsEmpty());
  EXPECT_THAT(Report(conditional, {.output_tokens = 7}), IsEmpty()) << "the condition is an error";
}

TEST(AttributeReporter, MistakesAreFoundAtLoad) {
  EXPECT_THAT(ErrorOf("[{key: {name: c}, expression: usage.prompt_token}]"),
              HasSubstr("attributes[0].expression: column 1: 'usage.prompt_token' is not known; did you mean"));
  EXPECT_THAT(ErrorOf("[{key: {name: c}, expression: 'usage.prompt_tokens > 1'}]"), HasSubstr("must be a number"));
  EXPECT_THAT(ErrorOf("[{key: {name: c}, expression: '1', condition: '1'}]"), HasSubstr("must be true or false"));
  EXPECT_THAT(ErrorOf("[{key: {name: c}}]"), HasSubstr("expression: is required"));
  EXPECT_THAT(ErrorOf("[{key: {}, expression: '1'}]"), HasSubstr("name"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("must not be empty"));
  std::string many = "[";
  for (int i = 0; i < 16; ++i) many += "{key: {name: n" + std::to_string(i) + "}, expression: '1'},";
  EXPECT_EQ(ErrorOf(many + "]"), "");
  EXPECT_THAT(ErrorOf(many + "{key: {name: x}, expression: '1'}]"), HasSubstr("at most 16"));
}

TEST(ServedVerifier, SaysWhoAnsweredOrThatNobodyKnows) {
  Harness harness(ConfigOf("plugins:\n- type: queue-scorer\n- type: destination-endpoint-served-verifier\n"));
  const auto pool = MakePool({{.name = "a"}});
  harness.Decide(TextRequest("r", "x"), pool);
  Ticket ticket = harness.Dispatch(TextRequest("r", "x"), pool);
  HeaderList headers;
  OnResponseHead(harness.state, ticket, {.served = "10.0.0.1:8000"}, headers);
  EXPECT_THAT(headers, ElementsAre(Pair("x-conformance-test-served-endpoint", "10.0.0.1:8000")));
  headers.clear();
  OnResponseHead(harness.state, ticket, {}, headers);
  ASSERT_EQ(headers.size(), 1u);
  EXPECT_TRUE(headers[0].second.starts_with("fail: "));
  OnResponseEnd(harness.state, std::move(ticket), {});
}

}  // namespace
}  // namespace sluice::schedule

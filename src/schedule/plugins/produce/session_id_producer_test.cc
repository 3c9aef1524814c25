#include "schedule/plugins/produce/session_id_producer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;

std::string SessionOf(std::string_view parameters, std::vector<std::pair<std::string_view, std::string_view>> headers) {
  const LoadedConfig config = testing::MustLoad(ConfigOf("plugins:\n- {type: session-id-producer, parameters: {" +
                                                         std::string(parameters) + "}}\n- {type: queue-scorer}\n"));
  model::Request request;
  request.headers = std::move(headers);
  const model::PoolView pool;
  const Board board;
  const PluginStates states;
  Rng rng(1);
  const DecisionInput in{request, pool, board, states, {}, rng};
  SessionId out;
  out.value = "of the request before";
  const auto* producer = dynamic_cast<const Producer*>(config.policy->Find("session-id-producer"));
  EXPECT_TRUE(producer->Produce(in, Candidates(), out));
  return out.value;
}

TEST(SessionIdProducer, ReadsTheHeader) {
  EXPECT_EQ(SessionOf("headerName: X-Session", {{"x-session", " s1 "}}), "s1");
  EXPECT_EQ(SessionOf("headerName: X-Session", {{"x-session", "s1"}, {"X-SESSION", "s2"}}), "s2");
  EXPECT_EQ(SessionOf("headerName: X-Session", {{"cookie", "X-Session=s1"}}), "");
}

TEST(SessionIdProducer, ReadsTheCookie) {
  EXPECT_EQ(SessionOf("cookieName: sid", {{"Cookie", "a=1; sid=s=1; b=2"}}), "s=1");
  EXPECT_EQ(SessionOf("cookieName: sid", {{"cookie", "xsid=no;sidx=no; sid"}}), "");
  // HTTP/2 splits them.
  EXPECT_EQ(SessionOf("cookieName: sid", {{"cookie", "sid=s1"}, {"cookie", "a=1"}}), "s1");
}

TEST(SessionIdProducer, WantsExactlyOneOfTheTwo) {
  for (const std::string_view parameters : {"", "headerName: a, cookieName: b", "headerName: ' '"}) {
    const auto config =
        LoadConfig(ConfigOf("plugins:\n- {type: session-id-producer, parameters: {" + std::string(parameters) + "}}\n"),
                   BuiltinRegistry());
    ASSERT_FALSE(config) << parameters;
    EXPECT_THAT(config.error().message, ::testing::HasSubstr("exactly one of headerName and cookieName"));
  }
}

}  // namespace
}  // namespace sluice::schedule

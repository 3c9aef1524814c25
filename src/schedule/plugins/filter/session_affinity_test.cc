// The table of sessions is bounded and ages on the decision's clock; label selectors in Kubernetes' text form.
#include "schedule/plugins/filter/session_affinity.h"

#include <gtest/gtest.h>

#include "schedule/plugins/filter/label_selector.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using testing::Harness;
using testing::MakePool;
using testing::TextRequest;

const std::string kConfig = ConfigOf(
    "plugins:\n"
    "- type: session-affinity-filter\n"
    "  parameters: {strategy: session_id, sessionIdConfig: {evictionTtlSeconds: 60, evictionSweepSeconds: 20}}\n"
    "- {type: queue-scorer}\n");

// Sends a request of `session`; returns where it went.
std::string Send(Harness& harness, const model::PoolView& pool, const std::string& session) {
  model::Request request = TextRequest("r", "x");
  request.headers.emplace_back("x-session-id", session);
  harness.Decide(request, pool);
  OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  return harness.decision.pick().endpoint->name;
}

size_t Sessions(const Harness& harness) {
  return SessionAffinity::Sessions(*harness.state.StateOf("session-affinity-filter"));
}

TEST(SessionAffinity, TheLongestUnusedSessionGoesWhenTheTableIsFull) {
  Harness harness(kConfig, {.sessions_max = 3});
  const auto a_idle = MakePool({{"a", 0}, {"b", 5}}), b_idle = MakePool({{"a", 5}, {"b", 0}});
  for (const char* session : {"1", "2", "3"}) EXPECT_EQ(Send(harness, a_idle, session), "a");
  EXPECT_EQ(Send(harness, b_idle, "1"), "a");  // used: now 2 is the oldest
  EXPECT_EQ(Sessions(harness), 3u);
  EXPECT_EQ(Send(harness, b_idle, "4"), "b");  // one too many
  EXPECT_EQ(Sessions(harness), 3u);
  EXPECT_EQ(Send(harness, b_idle, "1"), "a");
  EXPECT_EQ(Send(harness, b_idle, "3"), "a");
  EXPECT_EQ(Send(harness, b_idle, "2"), "b");  // forgotten
}

TEST(SessionAffinity, ExpiredSessionsAreSwept) {
  Harness harness(kConfig);
  const auto pool = MakePool({{"a"}, {"b"}});
  harness.clock.Advance(std::chrono::hours(1));
  Send(harness, pool, "1");
  harness.clock.Advance(std::chrono::seconds(55));
  Send(harness, pool, "2");
  EXPECT_EQ(Sessions(harness), 2u);
  harness.clock.Advance(std::chrono::seconds(10));
  Send(harness, pool, "3");  // the last sweep was 10 s ago
  EXPECT_EQ(Sessions(harness), 3u);
  harness.clock.Advance(std::chrono::seconds(10));
  Send(harness, pool, "3");
  EXPECT_EQ(Sessions(harness), 2u);
}

TEST(SessionAffinity, AHugeIdCostsNoMoreThanAShortOne) {
  Harness harness(kConfig, {.sessions_max = 2});
  const auto a_idle = MakePool({{"a", 0}, {"b", 5}}), b_idle = MakePool({{"a", 5}, {"b", 0}});
  const std::string huge(100'000, 's');
  EXPECT_EQ(Send(harness, a_idle, huge), "a");
  EXPECT_EQ(Send(harness, b_idle, huge), "a");
  EXPECT_EQ(Send(harness, b_idle, huge + "t"), "b");
}

TEST(SessionAffinity, AnEndpointOfTheSameNameIsTheSessionsAgain) {
  Harness harness(kConfig);
  EXPECT_EQ(Send(harness, MakePool({{"a", 0}, {"b", 5}}, 1), "1"), "a");
  EXPECT_EQ(Send(harness, MakePool({{"b", 0}, {"a", 5}}, 2), "1"), "a");  // another row and a new generation
}

TEST(LabelSelector, TextForm) {
  using Labels = std::map<std::string, std::string>;
  const Labels gold{{"app", "x"}, {"tier", "gold"}}, none{};
  const auto matches = [](std::string_view text, const Labels& labels) {
    const auto selector = LabelSelector::Parse(text);
    return selector.has_value() && selector->Matches(labels);
  };
  EXPECT_TRUE(matches("", none));
  EXPECT_TRUE(matches("app=x", gold));
  EXPECT_TRUE(matches("app==x , tier in (silver, gold)", gold));
  EXPECT_FALSE(matches("app=x,tier in (silver)", gold));
  EXPECT_TRUE(matches("app!=y,tier notin (silver,iron),!old,app", gold));
  EXPECT_TRUE(matches("app!=x", none));  // as in Kubernetes
  EXPECT_FALSE(matches("app", none));
  EXPECT_FALSE(matches("!app", gold));
  EXPECT_TRUE(matches("app=", Labels{{"app", ""}}));
  for (const char* wrong :
       {"a=b=c", "=x", "a in b", "a in (b", "a within (b)", "a b", "!", "a,,b", "a in (b c)", "(a)"}) {
    EXPECT_FALSE(LabelSelector::Parse(wrong).has_value()) << wrong;
  }
}

}  // namespace
}  // namespace sluice::schedule

#include "schedule/plugins/headers/agent_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;

std::string TenantOf(std::string_view parameters, std::vector<std::pair<std::string_view, std::string_view>> headers,
                     std::string named = "") {
  const LoadedConfig config = testing::MustLoad(ConfigOf("plugins:\n- {type: agent-identity, parameters: {" +
                                                         std::string(parameters) + "}}\n- {type: queue-scorer}\n"));
  model::Request request;
  request.fairness_id = std::move(named);
  request.headers = std::move(headers);
  ReadHeaders(*config.policy, request);
  return request.fairness_id;
}

TEST(AgentIdentity, TakesTheFirstHeaderThatIsNotEmpty) {
  EXPECT_EQ(TenantOf("", {{"session_id", "old"}, {"Session-Id", "codex"}}), "codex");
  EXPECT_EQ(TenantOf("", {{"session-id", "codex"}, {"x-session-affinity", "open"}}), "open");
  EXPECT_EQ(TenantOf("", {{"x-session-affinity", "open"}, {"X-Claude-Code-Session-Id", "claude"}}), "claude");
  EXPECT_EQ(TenantOf("", {{"x-session-affinity", "open"}, {"x-claude-code-session-id", " "}}), "open");
  EXPECT_EQ(TenantOf("", {{"session_id", "old"}}), "old");
}

TEST(AgentIdentity, LooksAtAdditionalHeadersFirst) {
  EXPECT_EQ(TenantOf("additionalSessionHeaders: [x-a, X-B]", {{"x-b", "b"}, {"x-claude-code-session-id", "claude"}}),
            "b");
}

TEST(AgentIdentity, LeavesATenantThatIsNamed) {
  EXPECT_EQ(TenantOf("", {{"session-id", "codex"}}, "tenant"), "tenant");
}

TEST(AgentIdentity, WithoutSuchAHeaderTheTenantIsTheDefault) { EXPECT_EQ(TenantOf("", {}), "default-flow"); }

TEST(AgentIdentity, ListsOfOtherThingsAreRefused) {
  for (const std::string_view list : {"x-a", "[{a: b}]", "['']"}) {
    const auto config = LoadConfig(
        ConfigOf("plugins:\n- {type: agent-identity, parameters: {additionalSessionHeaders: " + std::string(list) +
                 "}}\n"),
        BuiltinRegistry(), {.allow_experimental_plugins = true});
    ASSERT_FALSE(config) << list;
    EXPECT_THAT(config.error().message, ::testing::HasSubstr("additionalSessionHeaders"));
  }
}

}  // namespace
}  // namespace sluice::schedule

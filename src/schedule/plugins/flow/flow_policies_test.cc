// Configurations that use flow control load, are checked, and say that nothing comes of it.
#include "schedule/plugins/flow/flow_policies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

Result<LoadedConfig> Load(const std::string& body, bool experimental = true) {
  return LoadConfig(ConfigOf("featureGates: [flowControl]\n" + body), BuiltinRegistry(),
                    {.allow_experimental_plugins = experimental});
}
std::string ErrorOf(const std::string& body, bool experimental = true) {
  const auto config = Load(body, experimental);
  return config ? "" : config.error().message;
}
std::string With(const std::string& plugin) { return "plugins:\n- type: queue-scorer\n- {" + plugin + "}\n"; }

TEST(FlowPolicies, AllTypesLoadAndEachSaysThatItHasNoEffect) {
  for (const PluginInfo& info : FlowPolicy::Types()) {
    std::string plugin = "name: mine, type: " + std::string(info.type);
    if (info.type == "priority-holdback-policy") plugin += ", parameters: {minCeiling: 0.5}";
    const auto config = Load(With(plugin));
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_THAT(config->warnings,
                Contains(HasSubstr("flow control is not carried out by this version: plugin 'mine' has no effect")));
    EXPECT_THAT(config->warnings, Not(Contains(HasSubstr("is not used by any"))));
    EXPECT_EQ(ErrorOf(With(plugin), false).empty(), info.stability == Stability::kBeta) << info.type;
  }
}

TEST(FlowPolicies, ParametersAreChecked) {
  EXPECT_EQ(ErrorOf(With("type: program-aware-fairness, parameters: {strategy: las, evictionTtlSeconds: 60, "
                         "evictionSweepSeconds: 5, lasWeightService: 0.7, lasWeightHeadWait: 0.3, "
                         "lasHalfLifeSeconds: 0}")),
            "");
  EXPECT_THAT(ErrorOf(With("type: program-aware-fairness, parameters: {lasDecayFactor: 0.9}")),
              HasSubstr("lasDecayFactor: unknown field"));
  EXPECT_THAT(ErrorOf(With("type: program-aware-fairness, parameters: {strategy: lsa}")), HasSubstr("expected las"));
  EXPECT_EQ(
      ErrorOf(With("type: priority-holdback-policy, parameters: {minCeiling: 0.2, maxCeiling: 0.9, shape: linear, "
                   "domain: value}")),
      "");
  EXPECT_THAT(ErrorOf(With("type: priority-holdback-policy")), HasSubstr("minCeiling: is required"));
  EXPECT_THAT(ErrorOf(With("type: priority-holdback-policy, parameters: {minCeiling: 1}")), HasSubstr("below 1"));
  EXPECT_THAT(ErrorOf(With("type: priority-holdback-policy, parameters: {minCeiling: 0.5, maxCeiling: 0.4}")),
              HasSubstr("not above maxCeiling"));
  EXPECT_THAT(ErrorOf(With("type: priority-holdback-policy, parameters: {minCeiling: 0, domain: ranks}")),
              HasSubstr("did you mean 'rank'"));
  EXPECT_THAT(ErrorOf(With("type: static-usage-limit-policy, parameters: {threshold: -1}")), HasSubstr("threshold"));
  EXPECT_THAT(ErrorOf(With("type: fcfs-ordering-policy, parameters: {x: 1}")), HasSubstr("x: unknown field"));
}

TEST(FlowPolicies, ReferencesNameInstancesOrTypesOfTheRightKind) {
  const std::string plugins = With("name: fair, type: round-robin-fairness-policy");
  EXPECT_EQ(
      ErrorOf(plugins + "flowControl:\n  usageLimitPolicyPluginRef: static-usage-limit-policy\n"
                        "  defaultPriorityBand: {fairnessPolicyRef: fair, orderingPolicyRef: edf-ordering-policy}\n"
                        "  priorityBands: [{priority: 1, fairnessPolicyRef: global-strict-fairness-policy}]\n"),
      "");
  EXPECT_THAT(
      ErrorOf(plugins + "flowControl:\n  priorityBands:\n  - {priority: 1, fairnessPolicyRef: fare}\n"),
      HasSubstr("priorityBands[0].fairnessPolicyRef: fairness policy references undefined plugin 'fare'; did you "
                "mean 'fair'? (line 9)"));
  EXPECT_THAT(ErrorOf(plugins + "flowControl:\n  defaultPriorityBand: {orderingPolicyRef: fcfs-ordering-polcy}\n"),
              HasSubstr("did you mean 'fcfs-ordering-policy'"));
  EXPECT_THAT(ErrorOf(plugins + "flowControl:\n  defaultNegativePriorityBand: {orderingPolicyRef: fair}\n"),
              HasSubstr("plugin 'fair' is not an ordering policy"));
  EXPECT_THAT(ErrorOf(plugins + "flowControl: {usageLimitPolicyPluginRef: queue-scorer}\n"),
              HasSubstr("plugin 'queue-scorer' is not a usage limit policy"));
}

TEST(FlowPolicies, TheyTakeNoPartInDecisions) {
  const auto config = Load(With("type: round-robin-fairness-policy"));
  ASSERT_TRUE(config);
  EXPECT_TRUE(config->policy->hooks.empty());
  EXPECT_EQ(config->policy->profiles[0].scorers.size(), 1u);
  EXPECT_TRUE(config->policy->profiles[0].filters.empty());
}

}  // namespace
}  // namespace sluice::schedule

// llm-d's shipped configurations, in our words: each loads as it is and comes to what upstream makes of it; and what is
// wrong in the parameters of the plugins that they use is named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schedule/config.h"

namespace sluice::schedule {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kHead = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

Result<LoadedConfig> Load(const std::string& body) {
  return LoadConfig(kHead + body, BuiltinRegistry(), {.allow_experimental_plugins = true});
}
std::string ErrorOf(const std::string& body) {
  const auto config = Load(body);
  return config ? "loaded" : config.error().message;
}
// Of one plugin with these parameters.
std::string ErrorOf(std::string_view type, std::string_view parameters) {
  return ErrorOf("plugins:\n- {type: " + std::string(type) + ", parameters: " + std::string(parameters) + "}\n");
}

// "handler; producer, ...; profile: filter, weight x scorer, picker; ..."
std::string Summary(const Policy& policy) {
  std::string out = policy.handler_plugin->name() + ";";
  for (const BoundProducer& bound : policy.producers) out += " " + bound.plugin->name();
  for (const Profile& profile : policy.profiles) {
    out += "; " + profile.name + ":";
    for (const std::string& filter : profile.columns->filters) out += " " + filter;
    for (const auto& scorer : profile.columns->scorers) {
      out += " " + std::to_string(static_cast<int>(scorer.weight)) + "x" + scorer.name;
    }
    out += " " + profile.columns->picker;
  }
  return out;
}

struct Shipped {
  const char* name;
  const char* body;
  const char* summary;
};

const Shipped kShipped[] = {
    {"epp", R"(
plugins:
- type: prefix-cache-scorer
- type: decode-filter
- type: max-score-picker
- type: single-profile-handler
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: decode-filter
  - pluginRef: max-score-picker
  - {pluginRef: prefix-cache-scorer, weight: 2}
)",
     "single-profile-handler; token-producer approx-prefix-cache-producer; default: decode-filter "
     "2xprefix-cache-scorer max-score-picker"},
    {"sim_epp", R"(
plugins:
- {type: approx-prefix-cache-producer, parameters: {maxPrefixTokensToMatch: 16384, lruCapacityPerServer: 31250}}
- type: prefix-cache-scorer
- type: decode-filter
- type: max-score-picker
- type: single-profile-handler
schedulingProfiles:
- name: default
  plugins: [{pluginRef: decode-filter}, {pluginRef: max-score-picker}, {pluginRef: prefix-cache-scorer, weight: 2}]
)",
     "single-profile-handler; token-producer approx-prefix-cache-producer; default: decode-filter "
     "2xprefix-cache-scorer max-score-picker"},
    {"estimate", R"(
plugins:
- {type: token-producer, parameters: {estimate: {}}}
- type: prefix-cache-scorer
- type: decode-filter
- type: single-profile-handler
schedulingProfiles:
- name: default
  plugins: [{pluginRef: decode-filter}, {pluginRef: prefix-cache-scorer, weight: 2}]
)",
     "single-profile-handler; token-producer approx-prefix-cache-producer; default: decode-filter "
     "2xprefix-cache-scorer max-score-picker"},
    {"pd", R"(
plugins:
- {type: approx-prefix-cache-producer, parameters: {maxPrefixTokensToMatch: 16384, lruCapacityPerServer: 31250}}
- type: prefix-cache-scorer
- type: queue-scorer
- type: prefill-filter
- type: decode-filter
- type: max-score-picker
- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 16}}
- {type: disagg-profile-handler, parameters: {deciders: {prefill: prefix-based-pd-decider}}}
schedulingProfiles:
- name: prefill
  plugins:
  - pluginRef: prefill-filter
  - pluginRef: max-score-picker
  - {pluginRef: prefix-cache-scorer, weight: 2}
  - {pluginRef: queue-scorer, weight: 1}
- name: decode
  plugins:
  - pluginRef: decode-filter
  - pluginRef: max-score-picker
  - {pluginRef: prefix-cache-scorer, weight: 2}
  - {pluginRef: queue-scorer, weight: 1}
)",
     "disagg-profile-handler; token-producer approx-prefix-cache-producer; prefill: prefill-filter "
     "2xprefix-cache-scorer 1xqueue-scorer max-score-picker; decode: decode-filter 2xprefix-cache-scorer "
     "1xqueue-scorer max-score-picker"},
    {"encode_prefill_decode", R"(
plugins:
- type: prefix-cache-scorer
- type: encode-filter
- type: prefill-filter
- type: decode-filter
- type: max-score-picker
- type: always-disagg-multimodal-decider
- {type: prefix-based-pd-decider, parameters: {nonCachedTokens: 16}}
- type: disagg-profile-handler
  parameters: {deciders: {prefill: prefix-based-pd-decider, encode: always-disagg-multimodal-decider}}
schedulingProfiles:
- {name: encode, plugins: [{pluginRef: encode-filter}]}
- {name: prefill, plugins: [{pluginRef: prefill-filter}, {pluginRef: prefix-cache-scorer, weight: 2}]}
- {name: decode, plugins: [{pluginRef: decode-filter}, {pluginRef: prefix-cache-scorer, weight: 2}]}
)",
     "disagg-profile-handler; token-producer approx-prefix-cache-producer; encode: encode-filter max-score-picker; "
     "prefill: prefill-filter 2xprefix-cache-scorer max-score-picker; decode: decode-filter 2xprefix-cache-scorer "
     "max-score-picker"},
    {"encode_decode", R"(
plugins:
- type: encode-filter
- type: decode-filter
- type: always-disagg-multimodal-decider
- {type: disagg-profile-handler, parameters: {deciders: {encode: always-disagg-multimodal-decider}}}
schedulingProfiles:
- {name: encode, plugins: [{pluginRef: encode-filter}]}
- {name: decode, plugins: [{pluginRef: decode-filter}]}
)",
     "disagg-profile-handler;; encode: encode-filter max-score-picker; decode: decode-filter max-score-picker"},
    {"probabilistic_admitter", R"(
plugins:
- type: probabilistic-admitter
- type: random-picker
- {type: utilization-detector, parameters: {queueDepthThreshold: 999999999, kvCacheUtilThreshold: 1.0}}
flowControl: {saturationDetector: {pluginRef: utilization-detector}}
schedulingProfiles:
- {name: default, plugins: [{pluginRef: random-picker}]}
)",
     "single-profile-handler;; default: random-picker"},
    {"no_hit_lru", R"(
plugins:
- type: prefix-cache-scorer
- type: no-hit-lru-scorer
- type: decode-filter
schedulingProfiles:
- name: default
  plugins: [{pluginRef: decode-filter}, {pluginRef: prefix-cache-scorer, weight: 2}, {pluginRef: no-hit-lru-scorer}]
)",
     "single-profile-handler; token-producer approx-prefix-cache-producer; default: decode-filter "
     "2xprefix-cache-scorer 1xno-hit-lru-scorer max-score-picker"},
    {"payload_agnostic", R"(
plugins:
- type: passthrough-parser
- type: active-request-scorer
- type: session-affinity-scorer
requestHandler: {parsers: [{pluginRef: passthrough-parser}]}
schedulingProfiles:
- name: default
  plugins: [{pluginRef: active-request-scorer}, {pluginRef: session-affinity-scorer}]
)",
     "single-profile-handler; token-producer inflight-load-producer; default: 1xactive-request-scorer "
     "1xsession-affinity-scorer max-score-picker"},
    {"coordinator", R"(
plugins:
- type: header-profile-handler
- type: encode-filter
- type: prefill-filter
- type: decode-filter
schedulingProfiles:
- {name: encode, plugins: [{pluginRef: encode-filter}]}
- {name: prefill, plugins: [{pluginRef: prefill-filter}]}
- {name: decode, plugins: [{pluginRef: decode-filter}]}
)",
     "header-profile-handler;; encode: encode-filter max-score-picker; prefill: prefill-filter max-score-picker; "
     "decode: decode-filter max-score-picker"},
    {"file_discovery", R"(
plugins:
- {type: file-discovery, parameters: {path: /etc/epp/endpoints.yaml, watchFile: true}}
dataLayer: {discovery: {pluginRef: file-discovery}}
)",
     "single-profile-handler;; default: max-score-picker"},
};

class ShippedConfigs : public ::testing::TestWithParam<Shipped> {};

TEST_P(ShippedConfigs, LoadWithoutWarnings) {
  const auto config = Load(GetParam().body);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->warnings, IsEmpty());
  EXPECT_EQ(Summary(*config->policy), GetParam().summary);
}

INSTANTIATE_TEST_SUITE_P(Llmd, ShippedConfigs, ::testing::ValuesIn(kShipped),
                         [](const auto& info) { return info.param.name; });

TEST(ShippedConfig, DataParallelIsDeprecatedButLoads) {
  const auto config = Load(
      "plugins:\n- {type: data-parallel-profile-handler, parameters: {primaryPort: 8000}}\n- type: decode-filter\n"
      "schedulingProfiles:\n- {name: default, plugins: [{pluginRef: decode-filter}]}\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->warnings, ::testing::ElementsAre(HasSubstr("is deprecated: use a pool with several target")));
}

const std::string kPdProfiles = "schedulingProfiles:\n- {name: decode}\n- {name: prefill}\n- {name: encode}\n";

std::string Disagg(std::string_view parameters) {
  return "plugins:\n- type: always-disagg-pd-decider\n- type: max-score-picker\n"
         "- {type: disagg-profile-handler, parameters: {" +
         std::string(parameters) + "}}\n" + kPdProfiles;
}

TEST(DisaggProfileHandler, StageOrderIsSpelledFreely) {
  for (const char* order : {"decode-first", "Decode_First", "DECODEFIRST", "prefill-first", "prefill_First"}) {
    EXPECT_EQ(ErrorOf(Disagg("stageOrder: " + std::string(order))), "loaded") << order;
  }
  EXPECT_THAT(ErrorOf(Disagg("stageOrder: first")),
              HasSubstr("plugins[2].parameters.stageOrder: expected decode-first or prefill-first, got \"first\""));
}

TEST(DisaggProfileHandler, WhatCannotBeMeant) {
  EXPECT_THAT(ErrorOf(Disagg("deciders: {prefill: always-disagg-pd-decider}, stageOrder: prefill-first")),
              HasSubstr("prefill-first always runs prefill: remove the prefill decider"));
  EXPECT_THAT(ErrorOf(Disagg("deciders: {prefill: always-disagg-pd-decider}, prefillProfile: prefill")),
              HasSubstr("cannot be mixed with the deprecated flat fields"));
  EXPECT_THAT(ErrorOf(Disagg("deciders: {prefill: always-disag}")),
              HasSubstr("a plugin has a dependency on the unregistered plugin always-disag"));
  EXPECT_THAT(ErrorOf(Disagg("deciders: {prefill: max-score-picker}")),
              HasSubstr("plugin 'max-score-picker' is not a decider"));
  EXPECT_THAT(ErrorOf(Disagg("profiles: {decode: decod}")),
              HasSubstr("needs a scheduling profile named 'decod'; did you mean 'decode'?"));
  EXPECT_THAT(ErrorOf(Disagg("profiles: {prefill: decode}")),
              HasSubstr("two stages cannot share the scheduling profile 'decode'"));
  EXPECT_THAT(ErrorOf(Disagg("profiles: {prefil: x}")),
              HasSubstr("parameters.profiles.prefil: unknown field; did you mean 'prefill'?"));
  EXPECT_THAT(ErrorOf(Disagg("deciderPluginName: a, prefillDeciderPluginName: b")), HasSubstr("are the same setting"));
}

TEST(DisaggProfileHandler, StagesThatNeverRunAreSaid) {
  const auto config = Load(Disagg("deciders: {encode: always-disagg-pd-decider}, profiles: {encode: see}"));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->warnings, Contains(HasSubstr("there is no profile named 'see'")));
  EXPECT_THAT(config->warnings, Contains(HasSubstr("profile 'prefill' never runs: no decider is set for it")));
  EXPECT_THAT(config->warnings, Contains(HasSubstr("profile 'encode' never runs: it is of no stage")));
  const auto never = Load(
      "plugins:\n- type: prefix-based-pd-decider\n- {type: disagg-profile-handler, parameters: {deciders: {prefill: "
      "prefix-based-pd-decider}}}\nschedulingProfiles:\n- {name: decode}\n- {name: prefill}\n");
  ASSERT_TRUE(never) << never.error().message;
  EXPECT_THAT(never->warnings, Contains(HasSubstr("nonCachedTokens: is 0: 'prefix-based-pd-decider' never splits")));
}

TEST(HeaderProfileHandler, NeedsItsDefaultProfile) {
  EXPECT_THAT(ErrorOf("plugins:\n- type: header-profile-handler\nschedulingProfiles:\n- {name: a}\n- {name: b}\n"),
              HasSubstr("there is no scheduling profile named 'decode' for requests without the header 'epp-profile'"));
}

TEST(Filters, ParametersAreChecked) {
  EXPECT_THAT(ErrorOf("by-label", "{label: a}"), HasSubstr("keeps nothing: list validValues"));
  EXPECT_THAT(ErrorOf("by-label", "{validValues: [a]}"), HasSubstr("parameters.label: is required and missing"));
  EXPECT_THAT(ErrorOf("prefix-cache-affinity-filter", "{ttftSource: latencyPredicter}"),
              HasSubstr("did you mean 'latencyPredictor'?"));
  EXPECT_THAT(ErrorOf("prefix-cache-affinity-filter", "{peakPrefillThroughput: 0}"), HasSubstr("expected a number"));
  EXPECT_THAT(ErrorOf("utilization-filter", "{}"), HasSubstr("parameters.conditions: is required and missing"));
  EXPECT_THAT(ErrorOf("utilization-filter", "{conditions: []}"), HasSubstr("must have at least one condition"));
  EXPECT_THAT(ErrorOf("utilization-filter", "{conditions: [{metric: kv-cache-utilization, maxValue: 80}]}"),
              HasSubstr("parameters.conditions[0].maxValue: expected a number from 0 to 1"));
  EXPECT_THAT(ErrorOf("utilization-filter", "{conditions: [{metric: waiting-queue}]}"),
              HasSubstr("parameters.conditions[0].maxValue: is required and missing"));
  const std::string algorithm = "algorithm: {type: threshold, threshold: {operator: LessThan, value: 1}}";
  EXPECT_EQ(ErrorOf("endpoint-attribute-filter", "{attribute: a, " + algorithm + "}"), "loaded");
  EXPECT_EQ(ErrorOf("endpoint-attribute-filter", "{attribute: a/b, producer: \"\", " + algorithm + "}"), "loaded");
  EXPECT_THAT(ErrorOf("endpoint-attribute-filter", "{attribute: a/b, " + algorithm + "}"), HasSubstr("has a '/'"));
  EXPECT_THAT(ErrorOf("endpoint-attribute-filter", "{attribute: a, onMissing: pass, " + algorithm + "}"),
              HasSubstr("expected Pass or Fail, got \"pass\""));
  EXPECT_THAT(ErrorOf("endpoint-attribute-filter",
                      "{attribute: a, algorithm: {type: threshold, threshold: {operator: Less, value: 1}}}"),
              HasSubstr("parameters.algorithm.threshold.operator: expected one of LessThan"));
  EXPECT_THAT(ErrorOf("topology-affinity-filter", "{minAffinity: rak}"),
              HasSubstr("expected host, rack, zone or region, got \"rak\""));
  EXPECT_THAT(ErrorOf("topology-affinity-filter", "{topologyProducerName: queue-scorer}"),
              HasSubstr("'queue-scorer' is not a plugin that knows where endpoints stand"));
}

TEST(SessionAffinity, ParametersAreChecked) {
  EXPECT_THAT(ErrorOf("session-affinity-filter", "{strategy: session_ids}"), HasSubstr("did you mean 'session_id'?"));
  EXPECT_THAT(ErrorOf("session-affinity-filter", "{strategy: session_id, sessionIdConfig: {sources: [{}]}}"),
              HasSubstr("sources[0]: needs either header or attribute"));
  EXPECT_THAT(ErrorOf("session-affinity-filter",
                      "{strategy: session_id, sessionIdConfig: {sources: [{header: a, attribute: agent-identity}]}}"),
              HasSubstr("sources[0]: needs either header or attribute"));
  EXPECT_THAT(ErrorOf("session-affinity-scorer",
                      "{strategy: session_id, sessionIdConfig: {sources: [{attribute: agent_identity}]}}"),
              HasSubstr("did you mean 'agent-identity'?"));
  const auto config =
      Load("plugins:\n- {type: session-affinity-filter, parameters: {sessionIdConfig: {evictionTtlSeconds: 5}}}\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->warnings,
              Contains(HasSubstr("sessionIdConfig: has no effect with strategy encoded_endpoint_header")));
}

TEST(Detectors, ParametersAreChecked) {
  EXPECT_THAT(ErrorOf("utilization-detector", "{queueDepthThreshold: 0}"), HasSubstr("expected an integer from 1"));
  EXPECT_THAT(ErrorOf("utilization-detector", "{kvCacheUtilThreshold: 1.1}"), HasSubstr("expected a number"));
  EXPECT_THAT(ErrorOf("utilization-detector", "{metricsStalenessThreshold: 0s}"), HasSubstr("must be more than 0"));
  EXPECT_THAT(ErrorOf("utilization-detector", "{headroom: -0.1}"), HasSubstr("expected a number"));
  EXPECT_THAT(ErrorOf("concurrency-detector", "{concurrencyMode: token}"), HasSubstr("did you mean 'tokens'?"));
  EXPECT_THAT(ErrorOf("probabilistic-admitter", "{power: 0}"), HasSubstr("expected a number"));
}

TEST(RolloutScreener, ParametersAreChecked) {
  const auto error = [](const std::string& parameters) {
    return ErrorOf("disaggregatedset-rollout-screener", "{" + parameters + "}");
  };
  const std::string gating = "revisionGating: {mode: sum, requireRoles: {values: [p]}}";
  EXPECT_EQ(error("scope: {labelSelector: a=b}, " + gating), "loaded");
  EXPECT_THAT(error(gating), HasSubstr("parameters.scope: is required and missing"));
  EXPECT_THAT(error("scope: {labelSelector: \"a in b\"}, " + gating), HasSubstr("'a in b' is not a label requirement"));
  EXPECT_THAT(error("scope: {labelSelector: a=b}"), HasSubstr("parameters.revisionGating: is required and missing"));
  EXPECT_THAT(error("scope: {labelSelector: a=b}, revisionGating: {mode: max-role}"),
              HasSubstr("needs at least one role in values with mode max-role"));
  EXPECT_THAT(error("scope: {labelSelector: a=b}, revisionGating: {mode: max}"),
              HasSubstr("parameters.revisionGating.mode: expected one of sum, max-role, disabled"));
  EXPECT_THAT(error("scope: {labelSelector: a=b}, headerSelectors: [{name: n, headerName: h, labelKey: l}], " + gating),
              HasSubstr("headerSelectors[0].mode: is required and missing"));
}

}  // namespace
}  // namespace sluice::schedule

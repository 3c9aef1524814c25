// What scenarios cannot say of the scorers: a peer, and configurations that are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schedule/plugins/score/context_length_aware.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MakePool;

std::string RefusalOf(std::string_view plugin) {
  const auto config = LoadConfig(ConfigOf("plugins:\n- " + std::string(plugin) + "\n"), BuiltinRegistry(),
                                 {.allow_experimental_plugins = true});
  return config ? "accepted" : config.error().message;
}

std::vector<float> Nearness(const model::PoolView& pool, const model::Target* peer) {
  const LoadedConfig config = testing::MustLoad(ConfigOf("plugins:\n- {type: topology-affinity-scorer}\n"));
  const Plugin* plugin = config.policy->Find("topology-affinity-scorer");
  PluginStates states(config.policy->plugins.size());
  states[plugin->index()] = plugin->MakeState({});
  const model::Request request;
  const Board board;
  Rng rng(1);
  const DecisionInput in{request, pool, board, states, {}, rng, peer};
  Candidates candidates;
  candidates.Reset(pool);
  candidates.AddAll();
  std::vector<float> out(pool.size(), -1);
  dynamic_cast<const Scorer*>(plugin)->Score(in, candidates, out);
  return out;
}

TEST(TopologyAffinityScorer, NearerIsMore) {
  const auto at = [](std::string region, std::string zone, std::string rack, std::string host) {
    return std::map<std::string, std::string>{{"topology.kubernetes.io/region", region},
                                              {"topology.kubernetes.io/zone", zone},
                                              {"topology.kubernetes.io/rack", rack},
                                              {"kubernetes.io/hostname", host}};
  };
  const model::PoolView pool = MakePool({{.name = "host", .labels = at("r", "z", "k", "h")},
                                         {.name = "rack", .labels = at("r", "z", "k", "h2")},
                                         {.name = "zone", .labels = at("r", "z", "k2", "h3")},
                                         {.name = "region", .labels = at("r", "z2", "k3", "h4")},
                                         {.name = "far", .labels = at("r2", "z3", "k4", "h5")},
                                         {.name = "unknown"}});
  const model::Target peer{pool.id(0), 0, pool.members->endpoints[0]};
  EXPECT_THAT(Nearness(pool, &peer), ElementsAre(1, 0.2f, 0.05f, 0.02f, 0, 0));
  EXPECT_THAT(Nearness(pool, nullptr), ElementsAre(0, 0, 0, 0, 0, 0));
  const model::Target nowhere{pool.id(5), 5, pool.members->endpoints[5]};
  EXPECT_THAT(Nearness(pool, &nowhere), ElementsAre(0, 0, 0, 0, 0, 0));  // what is not known is not shared
}

TEST(ContextLengthAware, RangesOfLabels) {
  using Kind = ContextLengthAware::Range::Kind;
  const auto range = ContextLengthAware::ParseRange(" 10 - 20 ");
  EXPECT_EQ(range.kind, Kind::kRange);
  EXPECT_EQ(range.min, 10);
  EXPECT_EQ(range.max, 20);
  for (const std::string_view bad : {"", "-", "1", "1-", "-1-5", "1-2-3", "a-b", "2-1", "1-99999999999999999999"}) {
    EXPECT_EQ(ContextLengthAware::ParseRange(bad).kind, Kind::kBad) << bad;
  }
}

TEST(ContextLengthAware, TheLongestOfSeveralPromptsDecides) {
  testing::Harness harness(ConfigOf("plugins:\n- {type: context-length-aware, parameters: {label: len}}\n"));
  const model::PoolView pool =
      MakePool({{.name = "short", .labels = {{"len", "0-15"}}}, {.name = "long", .labels = {{"len", "16-30"}}}});
  model::Request request = testing::TextRequest("r", "");
  request.prompts = {{.text = {}, .tokens = std::vector<uint32_t>(10), .media = {}},
                     {.text = {}, .tokens = std::vector<uint32_t>(12), .media = {}}};
  harness.Decide(request, pool);
  EXPECT_EQ(harness.decision.pick().endpoint->name, "short");  // not the sum
}

TEST(Scorers, RefuseWrongParameters) {
  EXPECT_THAT(RefusalOf("{type: context-length-aware, parameters: {label: ''}}"),
              HasSubstr("label: must not be empty"));
  EXPECT_THAT(RefusalOf("{type: latency-scorer, parameters: {headroomSelectionStrategy: lest}}"), HasSubstr("'least'"));
  EXPECT_THAT(RefusalOf("{type: latency-scorer, parameters: {ttftWeight: -1}}"), HasSubstr("ttftWeight"));
  EXPECT_THAT(RefusalOf("{type: header-label-affinity-scorer, parameters: {headerName: x}}"), HasSubstr("labelKey"));
  EXPECT_THAT(RefusalOf("{type: token-load-scorer, parameters: {queueThresholdTokens: 0}}"),
              HasSubstr("queueThresholdTokens"));
  EXPECT_THAT(RefusalOf("{type: burst-prefix-cache-producer, parameters: {maxPerReplica: 0}}"),
              HasSubstr("must be -1 or at least 1"));
  EXPECT_THAT(RefusalOf("{type: burst-prefix-cache-producer, parameters: {balanceBy: token}}"), HasSubstr("'tokens'"));
  EXPECT_THAT(RefusalOf("{type: burst-prefix-cache-producer, parameters: {windowDurationMs: 20000}}"),
              HasSubstr("windowDurationMs"));
}

// Its own hooks read what it finds: nobody else has to.
TEST(P2pSourceProducer, IsNotReportedAsUnused) {
  const LoadedConfig config =
      testing::MustLoad(ConfigOf("plugins:\n- {type: p2p-source-producer}\n- {type: queue-scorer}\n"));
  EXPECT_THAT(config.warnings, ::testing::IsEmpty());
}

TEST(EndpointAttributeScorer, RefusesWrongAlgorithms) {
  const auto refusal = [](std::string_view parameters) {
    return RefusalOf("{type: endpoint-attribute-scorer, parameters: {" + std::string(parameters) + "}}");
  };
  const std::string linear = "algorithm: {type: linear_lower_is_better";
  EXPECT_EQ(refusal("attributeKey: k, " + linear + "}"), "accepted");
  EXPECT_THAT(refusal(linear + "}"), HasSubstr("attributeKey"));
  EXPECT_THAT(refusal("attributeKey: a/b, " + linear + "}"), HasSubstr("as `producer` of its own"));
  EXPECT_EQ(refusal("attributeKey: a/b, producer: p, " + linear + "}"), "accepted");
  EXPECT_THAT(refusal("attributeKey: k"), HasSubstr("algorithm"));
  EXPECT_THAT(refusal("attributeKey: k, algorithm: {}"), HasSubstr("algorithm.type"));
  EXPECT_THAT(refusal("attributeKey: k, algorithm: {type: linear_lower}"), HasSubstr("linear_lower_is_better"));
  EXPECT_THAT(refusal("attributeKey: k, " + linear + ", normalization: {fixedRange: {min: 2, max: 2}}}"),
              HasSubstr("min must be less than max"));
  EXPECT_THAT(
      refusal("attributeKey: k, " + linear + ", normalization: {fixedRange: {min: 1, max: 2}, adaptiveRange: {}}}"),
      HasSubstr("only one of"));
}

}  // namespace
}  // namespace sluice::schedule

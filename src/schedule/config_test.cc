#include "schedule/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schedule/describe.h"

namespace sluice::schedule {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kHead = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

Result<LoadedConfig> Load(const std::string& body, const LoadOptions& options = {}) {
  return LoadConfig(kHead + body, BuiltinRegistry(), options);
}
std::string ErrorOf(const std::string& body) {
  const auto config = Load(body);
  return config ? "loaded" : config.error().message;
}
std::string DescribeOf(const std::string& body) {
  const auto config = Load(body);
  return config ? PolicyText(*config) : config.error().message;
}

TEST(Config, TheBuiltInDefaultLoadsWithoutWarnings) {
  const auto config = LoadConfig(DefaultConfigText(), BuiltinRegistry());
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->warnings, IsEmpty());
  const std::string text = PolicyText(*config);
  for (const char* line :
       {"handler   single-profile-handler\n", "producer  token-producer",
        "producer  approx-prefix-cache-producer {(autoTune true)", "profile default\n", "  scorer  x2 queue-scorer\n",
        "  scorer  x2 kv-cache-utilization-scorer\n", "  scorer  x3 prefix-cache-scorer {(matchLengthWeight 0)",
        "  picker  max-score-picker {(maxNumOfEndpoints 1)}\n", "metrics   metrics-data-source {(path /metrics)",
        "created   max-score-picker: no picker is configured\n",
        "created   approx-prefix-cache-producer: prefix-match needed by 'prefix-cache-scorer'\n",
        "created   token-producer: tokenized-prompt needed by 'approx-prefix-cache-producer'\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(config->parsers,
              ElementsAre("openai-parser", "anthropic-parser", "vllmhttp-parser", "passthrough-parser"));
}

TEST(Config, UpstreamsErrorTexts) {
  EXPECT_THAT(LoadConfig("a: [", BuiltinRegistry()).error().message,
              HasSubstr("failed to decode configuration JSON/YAML"));
  EXPECT_THAT(ErrorOf("featureGates: [flowControll]\n"),
              HasSubstr("feature gate 'flowControll' is unknown or unregistered; did you mean 'flowControl'?"));
  EXPECT_THAT(ErrorOf("plugins:\n- name: x\n"), HasSubstr("plugin 'x' is missing a type (line 4)"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: queue-scorer\n- type: queue-scorer\n"),
              HasSubstr("duplicate plugin name 'queue-scorer' (line 5)"));
  EXPECT_THAT(
      ErrorOf("plugins:\n- type: queue-scorr\n"),
      HasSubstr("plugins[0]: plugin type 'queue-scorr' is not registered; did you mean 'queue-scorer'? (line 4)"));
  EXPECT_THAT(ErrorOf("schedulingProfiles:\n- plugins: []\n"),
              HasSubstr("schedulingProfiles[0] is missing a name (line 4)"));
  EXPECT_THAT(ErrorOf("schedulingProfiles:\n- name: a\n- name: a\n"),
              HasSubstr("schedulingProfiles[1] has duplicate name 'a'"));
  EXPECT_THAT(ErrorOf("schedulingProfiles:\n- name: a\n  plugins:\n  - weight: 1\n"),
              HasSubstr("schedulingProfiles[0].plugins[0] is missing a 'pluginRef' (line 6)"));
  EXPECT_THAT(
      ErrorOf(
          "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- name: a\n  plugins:\n  - pluginRef: queue-scorerr\n"),
      HasSubstr(
          "schedulingProfiles[a] references undefined plugin 'queue-scorerr'; did you mean 'queue-scorer'? (line 8)"));
  EXPECT_THAT(ErrorOf("requestHandler:\n  parsers:\n  - pluginRef: x-parser\n"),
              HasSubstr("parser references undefined plugin 'x-parser'"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: queue-scorer\nrequestHandler:\n  parsers:\n  - pluginRef: queue-scorer\n"),
              HasSubstr("the configured parser \"queue-scorer\" is not loaded"));
  EXPECT_THAT(ErrorOf("saturationDetector: {pluginRef: utilisation-detector}\n"),
              HasSubstr("saturation detector references undefined plugin 'utilisation-detector'"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: queue-scorer\nsaturationDetector: {pluginRef: queue-scorer}\n"),
              HasSubstr("plugin 'queue-scorer' is not a saturation detector"));
  EXPECT_THAT(ErrorOf("schedulingProfiles:\n- name: a\n- name: b\n"), HasSubstr("no profile handler configured"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: single-profile-handler\nschedulingProfiles:\n- name: a\n- name: b\n"),
              HasSubstr("SingleProfileHandler cannot support multiple scheduling profiles"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: single-profile-handler\n- {type: single-profile-handler, name: two}\n"),
              HasSubstr("multiple profile handlers found"));
  EXPECT_THAT(ErrorOf("flowControl: {maxRequests: -1}\n"), HasSubstr("flowControl.maxRequests: must be non-negative"));
}

TEST(Config, StrictFields) {
  EXPECT_THAT(ErrorOf("plugin: []\n"), HasSubstr("plugin: unknown field; did you mean 'plugins'? (line 3)"));
  EXPECT_THAT(ErrorOf("plugins: []\nplugins: []\n"), HasSubstr("duplicate key \"plugins\" (line 4)"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: no-hit-lru-scorer\n  parameters:\n    lruSize: abc\n"),
              HasSubstr("plugins[0].parameters.lruSize: expected an integer from 1 to 1000000, got \"abc\" (line 6)"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: load-aware-scorer\n  parameters: {treshold: 5}\n"),
              HasSubstr("plugins[0].parameters.treshold: unknown field; did you mean 'threshold'? (line 5)"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: queue-scorer\n  parameters: {x: 5}\n"),
              HasSubstr("plugins[0].parameters.x: unknown field"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: file-discovery\n"),
              HasSubstr("plugins[0].parameters.path: is required and missing"));
  EXPECT_THAT(
      ErrorOf("plugins:\n- type: label-selector-filter\n  parameters: {matchExpressions: [{key: a, operator: in}]}\n"),
      HasSubstr("plugins[0].parameters.matchExpressions[0].operator: expected one of In, NotIn, Exists, DoesNotExist"));
  EXPECT_THAT(LoadConfig("apiVersion: v1\nkind: Pod\n", BuiltinRegistry()).error().message,
              HasSubstr("kind: expected EndpointPickerConfig"));
}

TEST(Config, AllMistakesAtOnce) {
  const std::string error =
      ErrorOf("plugins:\n- type: nope\n- type: load-aware-scorer\n  parameters: {threshold: x, y: 1}\n");
  EXPECT_THAT(error, HasSubstr("'nope' is not registered"));
  EXPECT_THAT(error, HasSubstr("threshold: expected an integer"));
  EXPECT_THAT(error, HasSubstr(".y: unknown field"));
}

TEST(Config, BothApiVersionsAndDeprecatedPlaces) {
  const auto old = LoadConfig(
      "apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\nparser: {pluginRef: "
      "openai-parser}\n",
      BuiltinRegistry());
  ASSERT_TRUE(old) << old.error().message;
  EXPECT_THAT(old->parsers, ElementsAre("openai-parser"));
  EXPECT_THAT(old->warnings, Contains("apiVersion: is deprecated: use llm-d.ai/v1alpha1 (line 1)"));
  EXPECT_THAT(old->warnings, Contains("parser: is deprecated: use requestHandler.parsers (line 3)"));
  const auto both =
      Load("parser: {pluginRef: openai-parser}\nrequestHandler: {parsers: [{pluginRef: passthrough-parser}]}\n");
  ASSERT_TRUE(both);
  EXPECT_THAT(both->parsers, ElementsAre("passthrough-parser"));  // the new place wins
}

TEST(Config, WhatIsNotCarriedOutIsSaid) {
  const auto config = Load(
      "featureGates: [flowControl]\nflowControl: {maxBytes: 4Gi, priorityBands: [{priority: 100, maxRequests: 2000}]}\n"
      "dataLayer: {crossReplicaSyncInterval: 1s, peerDiscovery: {pluginRef: x}}\nplugins:\n- type: queue-scorer\n- "
      "type: file-discovery\n"
      "  parameters: {path: /x}\nschedulingProfiles:\n- name: d\n  plugins: [{pluginRef: queue-scorer, weight: 2}]\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->warnings, Contains(HasSubstr("featureGates: flowControl is not carried out by this version")));
  EXPECT_THAT(config->warnings, Contains(HasSubstr("flowControl: is not carried out by this version")));
  EXPECT_THAT(config->warnings,
              Contains(HasSubstr("dataLayer.crossReplicaSyncInterval: is not carried out by this version (line 5)")));
  EXPECT_THAT(config->warnings, Contains(HasSubstr("dataLayer.peerDiscovery: is not carried out")));
  EXPECT_THAT(config->warnings, Contains(HasSubstr("plugins[1]: plugin 'file-discovery' is not used")));
  EXPECT_EQ(config->document.flow_control->bytes_max, int64_t{4} << 30);
  EXPECT_EQ(config->document.flow_control->bands[0].requests_max, 2000);
  EXPECT_THAT(Load("flowControl: {}\n")->warnings,
              ElementsAre(HasSubstr("without the feature gate flowControl and has no effect")));
}

TEST(Config, DataLayerReachesTheCaller) {
  const auto config = Load(
      "plugins:\n- {type: file-discovery, parameters: {path: /etc/epp/endpoints.yaml, watchFile: true}}\n"
      "- {type: metrics-data-source, name: fast, parameters: {interval: 50ms, port: 9000, path: /m}}\n- type: "
      "core-metrics-extractor\n"
      "dataLayer:\n  discovery: {pluginRef: file-discovery}\n  sources: [{pluginRef: fast, extractors: [{pluginRef: "
      "core-metrics-extractor}]}]\n");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_NE(config->discovery, nullptr);
  EXPECT_EQ(config->discovery->path, "/etc/epp/endpoints.yaml");
  EXPECT_TRUE(config->discovery->watch_file);
  ASSERT_EQ(config->metrics.size(), 1u);  // a renamed source is not joined by a default one
  EXPECT_EQ(config->metrics[0].source->interval, std::chrono::milliseconds(50));
  EXPECT_EQ(config->metrics[0].source->port, 9000);
  EXPECT_TRUE(Load("dataLayer: {injectDefaults: false}\n")->metrics.empty());
  EXPECT_THAT(ErrorOf("dataLayer: {discovery: {pluginRef: file-discovry}}\n"),
              HasSubstr("discovery references undefined plugin 'file-discovry'"));
}

TEST(Config, ImplicitProfileTakesEverythingAtWeightOne) {
  EXPECT_THAT(DescribeOf("plugins:\n- type: queue-scorer\n- type: random-picker\n- type: label-selector-filter\n"),
              HasSubstr("profile default\n  filter  label-selector-filter\n  scorer  x1 queue-scorer\n  picker  "
                        "random-picker {"));
}

TEST(Config, PickersOneAProfile) {
  const std::string two = "plugins:\n- type: random-picker\n- type: max-score-picker\n";
  EXPECT_THAT(
      ErrorOf(
          two +
          "schedulingProfiles:\n- name: d\n  plugins: [{pluginRef: random-picker}, {pluginRef: max-score-picker}]\n"),
      HasSubstr("a profile has exactly one picker: 'random-picker' and 'max-score-picker' are listed"));
  // Without one the first configured is taken, not any.
  EXPECT_THAT(DescribeOf(two + "schedulingProfiles:\n- name: d\n"), HasSubstr("picker  random-picker"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: token-producer\nschedulingProfiles:\n- name: d\n  plugins: [{pluginRef: "
                      "token-producer}]\n"),
              HasSubstr("is neither a filter nor a scorer nor a picker"));
}

TEST(Config, ProducersByName) {
  EXPECT_THAT(
      DescribeOf("plugins:\n- {type: approx-prefix-cache-producer, name: mine}\n"
                 "- {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: mine}}\n"),
      ::testing::ContainsRegex("producer  token-producer[^\n]*\nproducer  mine \\[approx-prefix-cache-producer\\]"));
  EXPECT_THAT(ErrorOf("plugins:\n- {type: approx-prefix-cache-producer, name: mine}\n"
                      "- {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: mien}}\n"),
              HasSubstr("plugin 'prefix-cache-scorer' reads from 'mien', which does not exist or does not produce "
                        "prefix-match; did you mean 'mine'?"));
  // A renamed producer without a reference is read by nobody: the key is the default name's.
  const auto config =
      Load("plugins:\n- {type: approx-prefix-cache-producer, name: mine}\n- {type: prefix-cache-scorer}\n");
  ASSERT_TRUE(config);
  EXPECT_THAT(config->warnings, ElementsAre(HasSubstr("nothing reads what plugin 'mine' produces")));
}

TEST(Config, WeightOnSomethingElseAndDeprecatedTypesAreWarnedAbout) {
  const auto config = Load(
      "plugins:\n- type: by-label-selector\nschedulingProfiles:\n- name: d\n  plugins: [{pluginRef: by-label-selector, "
      "weight: 2}]\n");
  ASSERT_TRUE(config);
  EXPECT_THAT(config->warnings,
              Contains(HasSubstr("plugin type 'by-label-selector' is deprecated: use label-selector-filter")));
  EXPECT_THAT(config->warnings, Contains(HasSubstr("schedulingProfiles[0].plugins[0].weight: has no effect")));
}

// Plugins of a test's own: what the shipped ones cannot show.
template <DataKind kMade, DataKind kRead>
class Loop final : public Plugin, public Producer {
 public:
  using Plugin::Plugin;
  std::vector<Need> Needs() const override { return {{kRead, ""}}; }
  DataKind Provides() const override { return kMade; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<PrefixMatch>(); }
  Status Produce(const DecisionInput&, const Candidates&, Data&) const override { return {}; }
};
using Chicken = Loop<DataKind::kPrefixMatch, DataKind::kInflightLoad>;
using Egg = Loop<DataKind::kInflightLoad, DataKind::kPrefixMatch>;
constexpr PluginInfo kChicken{.type = "chicken", .make = MakePlain<Chicken>};
constexpr PluginInfo kEgg{.type = "egg", .make = MakePlain<Egg>};
constexpr PluginInfo kAlpha{.type = "young", .stability = Stability::kAlpha, .make = MakePlain<Egg>};

TEST(Config, CyclesAndMissingDefaultsAreErrors) {
  Registry cyclic;
  cyclic.Add(kChicken);
  cyclic.Add(kEgg);
  cyclic.SetDefaultProducer(DataKind::kPrefixMatch, "chicken");
  cyclic.SetDefaultProducer(DataKind::kInflightLoad, "egg");
  const std::string tail = "dataLayer: {injectDefaults: false}\nplugins:\n- type: chicken\n";
  EXPECT_THAT(LoadConfig(kHead + tail, cyclic).error().message,
              HasSubstr("data producers depend on each other in a cycle: chicken -> egg -> chicken"));
  Registry lonely;
  lonely.Add(kChicken);
  EXPECT_THAT(LoadConfig(kHead + tail, lonely).error().message,
              HasSubstr("no plugin produces the inflight-load needed by 'chicken' and there is no default one"));
}

TEST(Config, AlphaNeedsTheFlag) {
  Registry registry = BuiltinRegistry();
  registry.Add(kAlpha);
  const std::string text = kHead + "plugins:\n- type: young\n";
  EXPECT_THAT(LoadConfig(text, registry).error().message,
              HasSubstr("plugin type 'young' is alpha; start with --allow-experimental-plugins"));
  EXPECT_TRUE(LoadConfig(text, registry, {.allow_experimental_plugins = true}));
}

TEST(Config, EveryRegisteredTypeIsDocumentedAndItsDefaultsParse) {
  const Registry registry = BuiltinRegistry();
  const std::string page = RegistryMarkdown(registry);
  for (const PluginInfo* info : registry.all()) {
    EXPECT_THAT(page, HasSubstr("### `" + std::string(info->type) + "`"));
    EXPECT_FALSE(info->help.empty()) << info->type;
    codec::yaml::Problems problems;
    Params::Read(info->params, codec::yaml::Node{}, "p", problems);  // aborts on a default that does not parse
  }
}

TEST(DataLayer, SourcesBindTheirExtractors) {
  const auto config = Load(
      "plugins:\n- type: models-data-source\n- type: models-data-extractor\n- type: endpoint-notification-source\n"
      "- {type: static-discovery, parameters: {endpoints: []}}\n"
      "dataLayer:\n  discovery: {pluginRef: static-discovery}\n  sources:\n"
      "  - {pluginRef: models-data-source, extractors: [{pluginRef: models-data-extractor}]}\n"
      "  - {pluginRef: endpoint-notification-source}\n");
  ASSERT_TRUE(config) << config.error().message;
  ASSERT_EQ(config->metrics.size(), 2u);  // and the default metrics source
  EXPECT_NE(config->metrics[0].extractor, nullptr);
  EXPECT_EQ(config->metrics[1].source->kind, MetricsDataSource::Kind::kModels);
  EXPECT_EQ(config->metrics[1].source->path, "/v1/models");
  EXPECT_NE(config->metrics[1].models, nullptr);
  EXPECT_NE(config->static_discovery, nullptr);
  EXPECT_EQ(config->discovery, nullptr);
}

TEST(DataLayer, WhatCannotBeDoneIsSaid) {
  EXPECT_THAT(ErrorOf("plugins:\n- {type: metrics-data-source, parameters: {scheme: ftp}}\n"),
              HasSubstr("expected http or https, got \"ftp\""));
  EXPECT_THAT(ErrorOf("plugins:\n- type: dcgm-data-source\n"), HasSubstr("is alpha"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: models-data-source\n- type: core-metrics-extractor\ndataLayer:\n  sources:\n"
                      "  - {pluginRef: models-data-source, extractors: [{pluginRef: core-metrics-extractor}]}\n"),
              HasSubstr("cannot be used as extractor of models-data-source"));
  EXPECT_THAT(ErrorOf("plugins:\n- type: queue-scorer\ndataLayer: {discovery: {pluginRef: queue-scorer}}\n"),
              HasSubstr("cannot be used as discovery"));
  EXPECT_THAT(ErrorOf("plugins:\n- {type: dns-discovery, parameters: {name: x}}\n"), HasSubstr("port"));
  EXPECT_THAT(ErrorOf("plugins:\n- {type: dns-discovery, parameters: {name: x, port: 1, scheme: ftp}}\n"),
              HasSubstr("expected http, h2c or https, got \"ftp\""));
  const auto config =
      Load("plugins:\n- type: k8s-notification-source\ndataLayer: {sources: [{pluginRef: k8s-notification-source}]}\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_THAT(config->warnings, Contains(HasSubstr("needs a Kubernetes API server")));
}

TEST(DataLayer, TopologyIsReadFromLabels) {
  auto config = LoadConfig(
      "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n"
      "- {type: topology-extractor, parameters: {rackLabel: rack}}\n- type: endpoint-notification-source\n"
      "dataLayer: {sources: [{pluginRef: endpoint-notification-source, extractors: [{pluginRef: "
      "topology-extractor}]}]}\n",
      BuiltinRegistry(), {.allow_experimental_plugins = true});
  ASSERT_TRUE(config) << config.error().message;
  const auto* topology = dynamic_cast<const TopologyExtractor*>(config->policy->plugins[0].get());
  ASSERT_NE(topology, nullptr);
  const model::Endpoint endpoint{
      .labels = {{"kubernetes.io/hostname", "h1"}, {"rack", "r1"}, {"topology.kubernetes.io/zone", "z1"}}};
  const auto place = topology->PlaceOf(endpoint);
  EXPECT_EQ(place.host, "h1");
  EXPECT_EQ(place.rack, "r1");
  EXPECT_EQ(place.zone, "z1");
  EXPECT_EQ(place.region, "");
}

}  // namespace
}  // namespace sluice::schedule

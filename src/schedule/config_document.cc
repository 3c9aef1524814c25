#include "schedule/config_document.h"

#include <array>
#include <set>

#include "base/text.h"

namespace sluice::schedule {
namespace {

using codec::yaml::MapReader;
using codec::yaml::Node;
using codec::yaml::Problems;

constexpr std::string_view kApiVersion = "llm-d.ai/v1alpha1";
constexpr std::string_view kOldApiVersion = "inference.networking.x-k8s.io/v1alpha1";
constexpr std::array<std::string_view, 2> kGates = {"flowControl", "haPopulateNonLeaderDatastore"};
constexpr std::string_view kNotYet = "is not carried out by this version";

class Decoder {
 public:
  Decoder(const Node& root, Problems& problems) : problems_(problems), root_(root, "", problems) {}

  EndpointPickerConfig Decode() {
    Header();
    FeatureGates();
    Plugins();
    Profiles();
    MapReader handler = root_.Map("requestHandler");
    handler.Each("parsers",
                 [&](const Node& node, const std::string& path) { config_.parsers.push_back(Ref(node, path)); });
    handler.Finish();
    FlowControl();
    DataLayer();
    Deprecated();
    root_.Finish();
    return std::move(config_);
  }

 private:
  void Header() {
    config_.api_version = root_.RequiredString("apiVersion");
    if (config_.api_version == kOldApiVersion) {
      root_.Warn("apiVersion", "is deprecated: use " + std::string(kApiVersion));
    } else if (!config_.api_version.empty() && config_.api_version != kApiVersion) {
      root_.Error("apiVersion", "expected " + std::string(kApiVersion) + ", got \"" + config_.api_version + "\"");
    }
    const std::string kind = root_.RequiredString("kind");
    if (!kind.empty() && kind != "EndpointPickerConfig") {
      root_.Error("kind", "expected EndpointPickerConfig, got \"" + kind + "\"");
    }
    root_.Child("metadata");  // allowed on any Kubernetes-style object, means nothing in a file
  }

  void FeatureGates() {
    config_.feature_gates = {{"flowControl", false}, {"haPopulateNonLeaderDatastore", true}};
    root_.Each("featureGates", [&](const Node& node, const std::string& path) {
      const std::string_view text = node.scalar;
      const size_t equals = text.find('=');
      const std::string name(text.substr(0, equals));
      const std::string_view value = equals == std::string_view::npos ? "true" : text.substr(equals + 1);
      if (!node.IsScalar() || (value != "true" && value != "false")) {
        problems_.Error(node, path, "expected \"name\", \"name=true\" or \"name=false\", got " + Describe(node));
      } else if (!config_.feature_gates.contains(name)) {
        problems_.Error(node, path,
                        "feature gate '" + name + "' is unknown or unregistered" + DidYouMean(name, kGates));
      } else {
        config_.feature_gates[name] = value == "true";
        if (name != "flowControl") problems_.Warn(node.line, path, name + " has no effect outside Kubernetes");
      }
    });
    if (config_.feature_gates["flowControl"]) {
      root_.Warn("featureGates", "flowControl " + std::string(kNotYet) + ": requests are not queued here");
    }
  }

  void Plugins() {
    std::set<std::string> names;
    root_.Each("plugins", [&](const Node& node, const std::string& path) {
      MapReader reader(node, path, problems_);
      PluginEntry entry;
      entry.path = path;
      entry.line = node.line;
      entry.type = reader.String("type");
      entry.name = reader.String("name", entry.type);
      if (const Node* parameters = reader.Child("parameters")) entry.parameters = *parameters;
      reader.Finish();
      if (entry.type.empty()) {
        problems_.Error(node.line, path, "plugin '" + entry.name + "' is missing a type");
      } else if (!names.insert(entry.name).second) {
        problems_.Error(node.line, path, "duplicate plugin name '" + entry.name + "'");
      } else {
        config_.plugins.push_back(std::move(entry));
      }
    });
  }

  void Profiles() {
    std::set<std::string> names;
    root_.Each("schedulingProfiles", [&](const Node& node, const std::string& path) {
      MapReader reader(node, path, problems_);
      ProfileEntry profile;
      profile.path = path;
      profile.line = node.line;
      profile.name = reader.String("name");
      if (profile.name.empty()) {
        problems_.Error(node.line, "", path + " is missing a name");
      } else if (!names.insert(profile.name).second) {
        problems_.Error(node.line, "", path + " has duplicate name '" + profile.name + "'");
      }
      reader.Each("plugins", [&](const Node& item, const std::string& item_path) {
        MapReader ref(item, item_path, problems_);
        ProfileEntry::Ref out{ref.String("pluginRef"), std::nullopt, item_path, item.line};
        if (ref.Has("weight")) out.weight = ref.Number("weight", 1);
        ref.Finish();
        if (out.plugin.empty()) {
          problems_.Error(item.line, "", item_path + " is missing a 'pluginRef'");
        } else {
          profile.plugins.push_back(std::move(out));
        }
      });
      reader.Finish();
      config_.profiles.push_back(std::move(profile));
    });
  }

  PluginRef Ref(const Node& node, const std::string& path) {
    MapReader reader(node, path, problems_);
    PluginRef ref{reader.String("pluginRef"), path, node.line};
    if (ref.plugin.empty()) problems_.Error(node.line, "", path + " is missing a 'pluginRef'");
    reader.Finish();
    return ref;
  }

  std::optional<PluginRef> RefUnder(MapReader& reader, std::string_view field) {
    const Node* node = reader.Child(field);
    if (node == nullptr) return std::nullopt;
    return Ref(*node, reader.PathOf(field));
  }

  FlowBand Band(const Node& node, const std::string& path) {
    MapReader reader(node, path, problems_);
    FlowBand band;
    band.path = path;
    band.line = node.line;
    if (reader.Has("priority")) band.priority = reader.Int("priority", 0, {INT32_MIN, INT32_MAX});
    if (reader.Has("maxBytes")) band.bytes_max = reader.Quantity("maxBytes", 0);
    if (reader.Has("maxRequests")) band.requests_max = reader.Quantity("maxRequests", 0);
    band.fairness_policy = reader.String("fairnessPolicyRef");
    band.ordering_policy = reader.String("orderingPolicyRef");
    reader.Finish();
    return band;
  }

  void FlowControl() {
    const Node* node = root_.Child("flowControl");
    if (node == nullptr) return;
    MapReader reader(*node, "flowControl", problems_);
    FlowControlSection flow;
    flow.line = node->line;
    flow.bytes_max = reader.Quantity("maxBytes", 0);
    flow.requests_max = reader.Quantity("maxRequests", 0);
    if (reader.Has("defaultRequestTTL")) flow.default_request_ttl = reader.DurationOf("defaultRequestTTL", Duration(0));
    if (reader.Has("noEndpointRequestTTL")) {
      flow.no_endpoint_request_ttl = reader.DurationOf("noEndpointRequestTTL", Duration(0));
    }
    if (const Node* band = reader.Child("defaultPriorityBand")) {
      flow.default_band = Band(*band, "flowControl.defaultPriorityBand");
    }
    if (const Node* band = reader.Child("defaultNegativePriorityBand")) {
      flow.default_negative_band = Band(*band, "flowControl.defaultNegativePriorityBand");
    }
    std::set<int64_t> priorities;
    reader.Each("priorityBands", [&](const Node& item, const std::string& path) {
      FlowBand band = Band(item, path);
      if (!band.priority) {
        problems_.Error(item, path, "is missing a priority");
      } else if (!priorities.insert(*band.priority).second) {
        problems_.Error(item, path, "priority " + std::to_string(*band.priority) + " is listed twice");
      }
      flow.bands.push_back(std::move(band));
    });
    flow.usage_limit_policy = reader.String("usageLimitPolicyPluginRef");
    flow.saturation_detector = RefUnder(reader, "saturationDetector");
    flow.enable_eviction = reader.Bool("enableEviction", false);
    reader.Finish();
    const bool gate = config_.feature_gates["flowControl"];
    if (gate) {
      root_.Warn("flowControl", std::string(kNotYet) + ": requests are not queued here");
    } else if (!flow.saturation_detector || node->entries.size() > 1) {  // the detector sheds without the gate too
      root_.Warn("flowControl",
                 "is set without the feature gate flowControl and has no effect, saturationDetector excepted");
    }
    config_.flow_control = std::move(flow);
  }

  void DataLayer() {
    MapReader reader = root_.Map("dataLayer");
    DataLayerSection& layer = config_.data_layer;
    layer.inject_defaults = reader.Bool("injectDefaults", true);
    reader.Each("sources", [&](const Node& node, const std::string& path) {
      MapReader item(node, path, problems_);
      DataLayerSection::Source source;
      source.source = {item.String("pluginRef"), path, node.line};
      if (source.source.plugin.empty()) problems_.Error(node.line, "", path + " is missing a 'pluginRef'");
      item.Each("extractors", [&](const Node& extractor, const std::string& extractor_path) {
        source.extractors.push_back(Ref(extractor, extractor_path));
      });
      item.Finish();
      layer.sources.push_back(std::move(source));
    });
    layer.discovery = RefUnder(reader, "discovery");
    for (const std::string_view field : {"peerDiscovery", "crossReplicaSyncerPluginRef", "crossReplicaSyncInterval"}) {
      reader.NotCarriedOut(field, kNotYet);
    }
    reader.Finish();
  }

  // Old places of fields; where both are written the new one wins.
  void Deprecated() {
    if (auto parser = RefUnder(root_, "parser")) {
      root_.Warn("parser", "is deprecated: use requestHandler.parsers");
      if (config_.parsers.empty()) config_.parsers.push_back(std::move(*parser));
    }
    if (auto detector = RefUnder(root_, "saturationDetector")) {
      root_.Warn("saturationDetector", "is deprecated: use flowControl.saturationDetector");
      if (!config_.flow_control) config_.flow_control = FlowControlSection{.line = detector->line};
      if (!config_.flow_control->saturation_detector) config_.flow_control->saturation_detector = std::move(detector);
    }
  }

  Problems& problems_;
  MapReader root_;
  EndpointPickerConfig config_;
};

}  // namespace

EndpointPickerConfig DecodeConfig(std::string_view text, Problems& problems) {
  const auto root = codec::yaml::Parse(text);
  if (!root) {
    problems.Error(0, "", "failed to decode configuration JSON/YAML: " + root.error().message);
    return {};
  }
  if (!root->IsMap()) {
    problems.Error(*root, "", "failed to decode configuration JSON/YAML: expected a map, got " + Describe(*root));
    return {};
  }
  return Decoder(*root, problems).Decode();
}

std::string_view DefaultConfigText() {
  return R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: metrics-data-source
- type: core-metrics-extractor
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
    weight: 2
  - pluginRef: kv-cache-utilization-scorer
    weight: 2
  - pluginRef: prefix-cache-scorer
    weight: 3
dataLayer:
  sources:
  - pluginRef: metrics-data-source
    extractors:
    - pluginRef: core-metrics-extractor
)";
}

}  // namespace sluice::schedule

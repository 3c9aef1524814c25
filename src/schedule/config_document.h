// EndpointPickerConfig as written: upstream's schema (llm-d.ai/v1alpha1 and the deprecated
// inference.networking.x-k8s.io/v1alpha1), decoded strictly, deprecated fields moved to where they belong now.
// Nothing is resolved yet; config.h does that.
// Thread rule: pure. Cost: load time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "codec/yaml/reader.h"

namespace sluice::schedule {

struct PluginEntry {
  std::string name;  // the type where the file gives none
  std::string type;
  codec::yaml::Node parameters;
  std::string path;  // "plugins[2]"
  int line = 0;
};

struct ProfileEntry {
  struct Ref {
    std::string plugin;
    std::optional<double> weight;
    std::string path;
    int line = 0;
  };
  std::string name;
  std::vector<Ref> plugins;
  std::string path;
  int line = 0;
};

struct PluginRef {
  std::string plugin;
  std::string path;
  int line = 0;
};

struct FlowBand {
  std::optional<int64_t> priority;
  std::optional<int64_t> bytes_max;
  std::optional<int64_t> requests_max;
  std::string fairness_policy;
  std::string ordering_policy;
  std::string path;  // "flowControl.priorityBands[1]"
  int line = 0;
};

struct FlowControlSection {
  int line = 0;
  int64_t bytes_max = 0;     // 0: no limit
  int64_t requests_max = 0;  // 0: no limit
  std::optional<Duration> default_request_ttl;
  std::optional<Duration> no_endpoint_request_ttl;
  std::optional<FlowBand> default_band;
  std::optional<FlowBand> default_negative_band;
  std::vector<FlowBand> bands;
  std::string usage_limit_policy;
  std::optional<PluginRef> saturation_detector;
  bool enable_eviction = false;
};

struct DataLayerSection {
  struct Source {
    PluginRef source;
    std::vector<PluginRef> extractors;
  };
  bool inject_defaults = true;
  std::vector<Source> sources;
  std::optional<PluginRef> discovery;
};

struct EndpointPickerConfig {
  std::string api_version;
  std::map<std::string, bool> feature_gates;  // all known ones, with their defaults
  std::vector<PluginEntry> plugins;
  std::vector<ProfileEntry> profiles;
  std::vector<PluginRef> parsers;
  std::optional<FlowControlSection> flow_control;
  DataLayerSection data_layer;
};

// Decodes `text`. Everything wrong and everything that is not carried out goes to `problems`.
EndpointPickerConfig DecodeConfig(std::string_view text, codec::yaml::Problems& problems);

// What is used when no file is given: upstream's default (queue 2, KV cache utilisation 2, prefix cache 3).
std::string_view DefaultConfigText();

}  // namespace sluice::schedule

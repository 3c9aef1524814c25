// The data layer's names in a configuration: where metrics come from, how they are read, where endpoints are listed,
// how requests are parsed. They take no part in a decision; the loader hands their parameters to whoever carries them
// out. Thread rule: immutable.
#pragma once

#include <string>

#include "schedule/plugin.h"
#include "schedule/plugins/topology.h"

namespace sluice::schedule {

// A page that each endpoint is asked for: Prometheus metrics, the list of models, or what NVIDIA's DCGM exporter says.
class MetricsDataSource final : public Plugin {
 public:
  static const PluginInfo kInfo, kModels, kDcgm;
  enum class Kind : uint8_t { kMetrics, kModels, kDcgm };
  MetricsDataSource(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);

  Kind kind = Kind::kMetrics;
  std::string scheme;  // empty: the pool's
  std::string path;
  uint16_t port = 0;     // 0: the endpoint's own
  Duration interval{0};  // 0: the process's --refresh-metrics-interval; for models, 5 s
  // With https.
  bool skip_verify = true;
  std::string ca_cert_path, client_cert_path, client_key_path;
};

// Endpoints that come, go or change are told to the extractors of this source.
class NotificationSource final : public Plugin {
 public:
  static const PluginInfo kEndpoint, kKubernetes;
  NotificationSource(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
};

// How metrics become endpoint state. `engine_configs` is the list as written; pool::BuildDialects reads it.
class CoreMetricsExtractor final : public Plugin {
 public:
  static const PluginInfo kInfo;
  CoreMetricsExtractor(const PluginInfo& info, std::string name, const Params& params);

  std::string engine_label_key;
  std::string default_engine;
  codec::yaml::Node engine_configs;
  std::string path;  // of the parameters, for errors about engine_configs
};

// The models that an endpoint lists, which decide where a request can go.
class ModelsExtractor final : public Plugin {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
};

// GPU utilisation 0..1 as the scalar attribute "GPUUtilization/<instance>": the busiest GPU of the endpoint's pod.
class DcgmExtractor final : public Plugin {
 public:
  static const PluginInfo kInfo;
  static constexpr std::string_view kMetric = "DCGM_FI_DEV_GPU_UTIL";
  DcgmExtractor(const PluginInfo& info, std::string name) : Plugin(info, std::move(name)) {}
  std::string AttributeKey() const { return "GPUUtilization/" + name(); }
};

// Where an endpoint stands, from its labels. Labels are with the endpoint from the start, so nothing needs to be
// stored: whoever compares two endpoints asks PlaceOf().
class TopologyExtractor final : public Plugin, public TopologySource {
 public:
  static const PluginInfo kInfo;
  TopologyExtractor(const PluginInfo& info, std::string name, const Params& params);
  Place PlaceOf(const model::Endpoint& endpoint) const override;

 private:
  std::string host_label_, rack_label_, zone_label_, region_label_;
};

class FileDiscovery final : public Plugin {
 public:
  static const PluginInfo kInfo;
  FileDiscovery(const PluginInfo& info, std::string name, const Params& params);

  std::string path;
  bool watch_file = false;
};

// Ours: endpoints written into the configuration, in the format of an endpoint file.
class StaticDiscovery final : public Plugin {
 public:
  static const PluginInfo kInfo;
  StaticDiscovery(const PluginInfo& info, std::string name, const Params& params);

  codec::yaml::Node endpoints;  // the list; pool::ReadEndpoints reads it
  std::string path;             // of the list, for errors
};

// Ours: each address of a DNS name is an endpoint.
class DnsDiscovery final : public Plugin {
 public:
  static const PluginInfo kInfo;
  DnsDiscovery(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);

  std::string host;
  uint16_t port = 0;
  Duration interval{0};
  model::Scheme scheme;
};

// A request parser's name; the parsing itself is the gateway's.
class RequestParser final : public Plugin {
 public:
  static const PluginInfo kOpenAi, kAnthropic, kVllmHttp, kSglangHttp, kVllmGrpc, kVertexAi, kPassthrough;
  using Plugin::Plugin;
};

}  // namespace sluice::schedule

// The data layer's names in a configuration: where metrics come from, how they are read, where endpoints are listed,
// how requests are parsed. They take no part in a decision; the loader hands their parameters to whoever carries them
// out. Thread rule: immutable.
#pragma once

#include <string>

#include "schedule/plugin.h"

namespace sluice::schedule {

class MetricsDataSource final : public Plugin {
 public:
  static const PluginInfo kInfo;
  MetricsDataSource(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);

  std::string scheme;
  std::string path;
  uint16_t port = 0;  // 0: the endpoint's own
  bool insecure_skip_verify = true;
  std::string ca_cert_path, client_cert_path, client_key_path;
  Duration interval{0};  // 0: the process's --refresh-metrics-interval
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

class FileDiscovery final : public Plugin {
 public:
  static const PluginInfo kInfo;
  FileDiscovery(const PluginInfo& info, std::string name, const Params& params);

  std::string path;
  bool watch_file = false;
};

// A request parser's name; the parsing itself is the gateway's.
class RequestParser final : public Plugin {
 public:
  static const PluginInfo kOpenAi, kAnthropic, kVllmHttp, kSglangHttp, kVllmGrpc, kVertexAi, kPassthrough;
  using Plugin::Plugin;
};

}  // namespace sluice::schedule

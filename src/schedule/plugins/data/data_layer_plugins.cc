#include "schedule/plugins/data/data_layer_plugins.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kScheme = {.name = "scheme",
                               .type = ParamType::kString,
                               .help = "http or https; not set: as requests are sent to the endpoints"};
constexpr ParamSpec kSkipVerify = {.name = "insecureSkipVerify",
                                   .type = ParamType::kBool,
                                   .fallback = "true",
                                   .help = "with scheme https: accept any certificate"};
constexpr ParamSpec kCaCert = {.name = "caCertPath",
                               .type = ParamType::kString,
                               .help = "with insecureSkipVerify false: authorities to trust (default: the system's)"};
constexpr ParamSpec kClientCert = {
    .name = "clientCertPath", .type = ParamType::kString, .help = "with scheme https: certificate to show"};
constexpr ParamSpec kClientKey = {.name = "clientKeyPath", .type = ParamType::kString, .help = "its key"};
constexpr ParamSpec Port(std::string_view fallback) {
  return {.name = "port",
          .type = ParamType::kInt,
          .fallback = fallback,
          .min = 0,
          .max = 65535,
          .help = "port of the page; 0: the endpoint's own"};
}
constexpr ParamSpec Path(std::string_view fallback) {
  return {.name = "path", .type = ParamType::kString, .fallback = fallback, .help = "path of the page"};
}
constexpr ParamSpec Interval(std::string_view help) {
  return {.name = "interval", .type = ParamType::kDuration, .fallback = "0s", .help = help};
}
constexpr ParamSpec kSourceParams[] = {
    kScheme,    Path("/metrics"),
    Port("0"),  kSkipVerify,
    kCaCert,    kClientCert,
    kClientKey, Interval("time between scrapes, in whole steps of the process's setting; 0: that setting"),
};
constexpr ParamSpec kModelsParams[] = {
    kScheme, Path("/v1/models"), Port("0"),  kSkipVerify,
    kCaCert, kClientCert,        kClientKey, Interval("time between two questions; 0: 5 s"),
};
constexpr ParamSpec kDcgmParams[] = {
    kScheme,
    Path("/metrics"),
    Port("9400"),
    kSkipVerify,
    kCaCert,
    kClientCert,
    kClientKey,
    Interval("time between scrapes; 0: the process's setting"),
    {.name = "useNodeAddress",
     .type = ParamType::kBool,
     .fallback = "false",
     .help = "ask the node instead of the pod",
     .warn_when_set = "has no effect: endpoints have no node address without Kubernetes; their own address is asked"},
};
constexpr ParamSpec kTopologyParams[] = {
    {.name = "hostLabel",
     .type = ParamType::kString,
     .fallback = "kubernetes.io/hostname",
     .help = "label of the host"},
    {.name = "rackLabel",
     .type = ParamType::kString,
     .fallback = "topology.kubernetes.io/rack",
     .help = "label of the rack"},
    {.name = "zoneLabel",
     .type = ParamType::kString,
     .fallback = "topology.kubernetes.io/zone",
     .help = "label of the zone"},
    {.name = "regionLabel",
     .type = ParamType::kString,
     .fallback = "topology.kubernetes.io/region",
     .help = "label of the region"},
};
constexpr ParamSpec kStaticParams[] = {
    {.name = "endpoints",
     .type = ParamType::kNode,
     .help = "list of {name, namespace, address, port, labels}, as in an endpoint file",
     .required = true},
};
constexpr ParamSpec kDnsParams[] = {
    {.name = "name",
     .type = ParamType::kString,
     .help = "DNS name; each of its addresses is an endpoint",
     .required = true},
    {.name = "port",
     .type = ParamType::kInt,
     .min = 1,
     .max = 65535,
     .help = "port of the model servers",
     .required = true},
    {.name = "interval",
     .type = ParamType::kDuration,
     .fallback = "5s",
     .help = "time between two look-ups; six times that while the answer stays the same"},
    {.name = "scheme",
     .type = ParamType::kString,
     .help = "http, h2c (HTTP/2 in clear text) or https; not set: as the pool's other endpoints"},
};
constexpr ParamSpec kExtractorParams[] = {
    {.name = "engineLabelKey",
     .type = ParamType::kString,
     .fallback = "llm-d.ai/engine-type",
     .help = "label that names an endpoint's engine"},
    {.name = "defaultEngine",
     .type = ParamType::kString,
     .fallback = "vllm",
     .help = "engine of endpoints without that label"},
    {.name = "engineConfigs",
     .type = ParamType::kNode,
     .help = "list of metric mappings; one with a built-in name replaces it"},
};
constexpr ParamSpec kDiscoveryParams[] = {
    {.name = "path", .type = ParamType::kString, .help = "file with the list of endpoints", .required = true},
    {.name = "watchFile", .type = ParamType::kBool, .fallback = "false", .help = "read it again when it changes"},
};

}  // namespace

constinit const PluginInfo MetricsDataSource::kInfo = {.type = "metrics-data-source",
                                                       .help = "Scrapes each endpoint's Prometheus page.",
                                                       .params = kSourceParams,
                                                       .make = MakeChecked<MetricsDataSource>};
constinit const PluginInfo MetricsDataSource::kModels = {.type = "models-data-source",
                                                         .help = "Asks each endpoint for the models it serves.",
                                                         .params = kModelsParams,
                                                         .make = MakeChecked<MetricsDataSource>};
constinit const PluginInfo MetricsDataSource::kDcgm = {.type = "dcgm-data-source",
                                                       .stability = Stability::kAlpha,
                                                       .help = "Scrapes the DCGM exporter beside each endpoint.",
                                                       .params = kDcgmParams,
                                                       .make = MakeChecked<MetricsDataSource>};
constinit const PluginInfo NotificationSource::kEndpoint = {
    .type = "endpoint-notification-source",
    .help = "Tells its extractors which endpoints come, go and change.",
    .make = MakeChecked<NotificationSource>};
constinit const PluginInfo NotificationSource::kKubernetes = {
    .type = "k8s-notification-source",
    .help = "Tells its extractors of Kubernetes objects; accepted, but nothing comes without a Kubernetes API server.",
    .make = MakeChecked<NotificationSource>};
constinit const PluginInfo ModelsExtractor::kInfo = {
    .type = "models-data-extractor", .help = "Reads the list of models.", .make = MakePlain<ModelsExtractor>};
constinit const PluginInfo DcgmExtractor::kInfo = {
    .type = "dcgm-extractor",
    .stability = Stability::kAlpha,
    .help = "Reads GPU utilisation as the attribute GPUUtilization: the busiest GPU of the endpoint's pod.",
    .make = MakePlain<DcgmExtractor>};
constinit const PluginInfo TopologyExtractor::kInfo = {.type = "topology-extractor",
                                                       .stability = Stability::kAlpha,
                                                       .help = "Reads host, rack, zone and region from labels.",
                                                       .params = kTopologyParams,
                                                       .make = MakeWithParams<TopologyExtractor>};
constinit const PluginInfo StaticDiscovery::kInfo = {
    .type = "static-discovery",
    .help = "Lists endpoints in the configuration itself. Sluice's own; llm-d does not have it.",
    .params = kStaticParams,
    .make = MakeWithParams<StaticDiscovery>};
constinit const PluginInfo DnsDiscovery::kInfo = {
    .type = "dns-discovery",
    .help = "Makes an endpoint of each address of a DNS name. Sluice's own; llm-d does not have it.",
    .params = kDnsParams,
    .make = MakeChecked<DnsDiscovery>};
constinit const PluginInfo CoreMetricsExtractor::kInfo = {
    .type = "core-metrics-extractor",
    .help = "Reads load, cache and adapter state from scraped metrics.",
    .params = kExtractorParams,
    .make = MakeWithParams<CoreMetricsExtractor>};
constinit const PluginInfo FileDiscovery::kInfo = {.type = "file-discovery",
                                                   .help = "Lists endpoints from a YAML or JSON file.",
                                                   .params = kDiscoveryParams,
                                                   .make = MakeWithParams<FileDiscovery>};
constinit const PluginInfo RequestParser::kOpenAi = {
    .type = "openai-parser", .help = "OpenAI requests.", .make = MakePlain<RequestParser>};
constinit const PluginInfo RequestParser::kAnthropic = {
    .type = "anthropic-parser", .help = "Anthropic messages.", .make = MakePlain<RequestParser>};
constinit const PluginInfo RequestParser::kVllmHttp = {
    .type = "vllmhttp-parser", .help = "vLLM's generate requests.", .make = MakePlain<RequestParser>};
constinit const PluginInfo RequestParser::kSglangHttp = {
    .type = "sglanghttp-parser", .help = "SGLang's generate requests.", .make = MakePlain<RequestParser>};
constinit const PluginInfo RequestParser::kVllmGrpc = {
    .type = "vllmgrpc-parser", .help = "vLLM's gRPC: Generate and Embed.", .make = MakePlain<RequestParser>};
constinit const PluginInfo RequestParser::kVertexAi = {
    .type = "vertexai-parser", .help = "Vertex AI's PredictionService, gRPC.", .make = MakePlain<RequestParser>};
constinit const PluginInfo RequestParser::kPassthrough = {
    .type = "passthrough-parser", .help = "Opaque bodies: no model, no tokens.", .make = MakePlain<RequestParser>};

MetricsDataSource::MetricsDataSource(const PluginInfo& info, std::string name, const Params& params,
                                     codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      kind(&info == &kModels ? Kind::kModels
           : &info == &kDcgm ? Kind::kDcgm
                             : Kind::kMetrics),
      scheme(params.String("scheme")),
      path(params.String("path")),
      port(static_cast<uint16_t>(params.Int("port"))),
      interval(params.DurationOf("interval")),
      skip_verify(params.Bool("insecureSkipVerify")),
      ca_cert_path(params.String("caCertPath")),
      client_cert_path(params.String("clientCertPath")),
      client_key_path(params.String("clientKeyPath")) {
  if (!scheme.empty() && scheme != "http" && scheme != "https") {
    problems.Error(params.line(), params.path() + ".scheme", "expected http or https, got \"" + scheme + "\"");
  }
  if (client_cert_path.empty() != client_key_path.empty()) {
    problems.Error(params.line(), params.path(), "clientCertPath and clientKeyPath belong together");
  }
  if (!path.starts_with('/') || path.find_first_of(" \r\n\t") != std::string::npos) {
    problems.Error(params.line(), params.path() + ".path",
                   "must begin with '/' and have no blanks, got \"" + path + "\"");
  }
}

NotificationSource::NotificationSource(const PluginInfo& info, std::string name, const Params& params,
                                       codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)) {
  if (&info != &kKubernetes) return;
  problems.Warn(params.line(), params.path(),
                "k8s-notification-source is idle: it needs a Kubernetes API server, and this version reads endpoints "
                "from files, DNS or the command line; its extractors are told nothing");
}

TopologyExtractor::TopologyExtractor(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      host_label_(params.String("hostLabel")),
      rack_label_(params.String("rackLabel")),
      zone_label_(params.String("zoneLabel")),
      region_label_(params.String("regionLabel")) {}

Place TopologyExtractor::PlaceOf(const model::Endpoint& endpoint) const {
  const auto label = [&](const std::string& key) -> std::string_view {
    const auto at = endpoint.labels.find(key);
    return at != endpoint.labels.end() ? std::string_view(at->second) : std::string_view();
  };
  return {label(host_label_), label(rack_label_), label(zone_label_), label(region_label_)};
}

StaticDiscovery::StaticDiscovery(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), endpoints(params.Node("endpoints")), path(params.path() + ".endpoints") {}

DnsDiscovery::DnsDiscovery(const PluginInfo& info, std::string name, const Params& params,
                           codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      host(params.String("name")),
      port(static_cast<uint16_t>(params.Int("port"))),
      interval(params.DurationOf("interval")),
      scheme(model::SchemeOf(params.String("scheme"))) {
  const std::string& written = params.String("scheme");
  if (written.empty() || scheme != model::Scheme::kOfPool) return;
  problems.Error(params.line(), params.path() + ".scheme", "expected http, h2c or https, got \"" + written + "\"");
}

CoreMetricsExtractor::CoreMetricsExtractor(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      engine_label_key(params.String("engineLabelKey")),
      default_engine(params.String("defaultEngine")),
      engine_configs(params.Node("engineConfigs")),
      path(params.path()) {}

FileDiscovery::FileDiscovery(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), path(params.String("path")), watch_file(params.Bool("watchFile")) {}

}  // namespace sluice::schedule

#include "schedule/plugins/data/data_layer_plugins.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kSourceParams[] = {
    {.name = "scheme", .type = ParamType::kString, .fallback = "http", .help = "http or https"},
    {.name = "path", .type = ParamType::kString, .fallback = "/metrics", .help = "path of the metrics page"},
    {.name = "port",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .max = 65535,
     .help = "port of the metrics page; 0: the endpoint's own"},
    {.name = "insecureSkipVerify", .type = ParamType::kBool, .fallback = "true", .help = "accept any certificate"},
    {.name = "caCertPath", .type = ParamType::kString, .help = "file with certificates to trust"},
    {.name = "clientCertPath", .type = ParamType::kString, .help = "client certificate"},
    {.name = "clientKeyPath", .type = ParamType::kString, .help = "its key"},
    {.name = "interval",
     .type = ParamType::kDuration,
     .fallback = "0s",
     .help = "time between scrapes; 0: the process's setting"},
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
      scheme(params.String("scheme")),
      path(params.String("path")),
      port(static_cast<uint16_t>(params.Int("port"))),
      insecure_skip_verify(params.Bool("insecureSkipVerify")),
      ca_cert_path(params.String("caCertPath")),
      client_cert_path(params.String("clientCertPath")),
      client_key_path(params.String("clientKeyPath")),
      interval(params.DurationOf("interval")) {
  if (scheme != "http" && scheme != "https") {
    problems.Error(params.line(), params.path() + ".scheme", "expected http or https, got \"" + scheme + "\"");
  }
  if (!path.starts_with('/')) {
    problems.Error(params.line(), params.path() + ".path", "must begin with '/', got \"" + path + "\"");
  }
  if (client_cert_path.empty() != client_key_path.empty()) {
    problems.Error(params.line(), params.path(), "clientCertPath and clientKeyPath belong together");
  }
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

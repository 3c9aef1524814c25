// `sluice gateway`: the HTTP front door for one or several pools.
#include <algorithm>
#include <csignal>
#include <cstdio>

#include "app/buffered_log.h"
#include "app/command.h"
#include "app/tls_flags.h"
#include "base/text.h"
#include "gateway/gateway.h"
#include "observe/log.h"
#include "runtime/signals.h"
#include "schedule/scheduler.h"

namespace sluice::app {
namespace {

struct Flags {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  std::vector<std::string> config_files;
  std::vector<std::string> endpoint_files;
  std::vector<std::string> pool_names;
  std::vector<std::string> endpoints;
  std::vector<std::string> objects_files;
  std::vector<std::string> shadows;
  std::string decision_log;
  uint64_t decision_log_bytes = uint64_t{256} << 20;
  uint64_t cache_index_bytes = serving::kCacheBytesMax;
  std::string state_dir;
  double refresh_ms = 50;
  bool experimental = false;
  bool reuse_port = false;
  double drain_seconds = 30;
  double silence_seconds = 300;
  size_t body_max = size_t{64} << 20;
  double body_seconds = 60;
  size_t body_rate_min = 500;
  int tries = 3;
  uint64_t seed = 0;
  std::vector<std::string> certificates, keys;
  std::string client_ca;
  TlsLimits tls_limits;
  std::string endpoint_scheme = "http";
  net::TlsContext::ClientOptions endpoint_tls;
  bool endpoint_skip_verify = false;
  std::string endpoint_tls_name;
};

// "https://10.0.0.1:8000" in its parts. Without a scheme: the one of --endpoint-scheme.
Result<std::pair<model::Scheme, std::string>> SplitScheme(const std::string& text) {
  const size_t end = text.find("://");
  if (end == std::string::npos) return std::pair(model::Scheme::kOfPool, text);
  const std::string name = text.substr(0, end);
  const model::Scheme scheme = model::SchemeOf(name);
  if (scheme != model::Scheme::kOfPool) return std::pair(scheme, text.substr(end + 3));
  return Fail(Code::kInvalidArgument, "--endpoint '" + text + "': the scheme '" + name + "' is not known" +
                                          DidYouMean(name, model::kSchemes) +
                                          "; known are http (HTTP/1.1), h2c (HTTP/2 in clear text) and https");
}

Result<serving::EndpointName> ParseName(const std::string& text, model::Scheme scheme) {
  const size_t colon = text.rfind(':');
  const auto port = ParseNumber<uint16_t>(colon == std::string::npos ? "" : text.substr(colon + 1));
  std::string host = text.substr(0, colon);
  if (!port || *port == 0 || !net::Resolver::IsName(host)) {
    return Fail(Code::kInvalidArgument, "--endpoint '" + text +
                                            "' is not an endpoint; write IP:PORT or NAME:PORT, as 127.0.0.1:8000, "
                                            "[::1]:8000 or vllm.example.com:8000, and https:// or h2c:// before it "
                                            "where it is not spoken to as --endpoint-scheme says");
  }
  return serving::EndpointName{.host = std::move(host), .port = *port, .scheme = scheme};
}

Status AddEndpoints(const std::vector<std::string>& texts, serving::PoolOptions& pool) {
  for (const std::string& text : texts) {
    const auto parts = SplitScheme(text);
    if (!parts) return tl::unexpected(parts.error());
    const auto& [scheme, place] = *parts;
    const auto address = net::Address::Parse(place);
    if (!address) {
      auto name = ParseName(place, scheme);
      if (!name) return tl::unexpected(name.error());
      pool.names.push_back(std::move(*name));
      continue;
    }
    pool.endpoints.push_back(
        {.id = "default/" + place, .name = place, .address = address->host, .port = address->port, .scheme = scheme});
  }
  return {};
}

// "NAME=FILE".
Result<std::vector<std::pair<std::string, std::string>>> Shadows(const std::vector<std::string>& texts) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      return Fail(Code::kInvalidArgument, "--shadow '" + text + "': write NAME=FILE, as trial=trial.yaml");
    }
    const std::string name = text.substr(0, equals);
    const bool taken = std::any_of(out.begin(), out.end(), [&](const auto& shadow) { return shadow.first == name; });
    if (taken || name == schedule::Scheduler::kConfigured) {
      return Fail(Code::kInvalidArgument, "--shadow: the name '" + name + "' is taken; give each policy its own");
    }
    out.emplace_back(name, text.substr(equals + 1));
  }
  return out;
}

// How the pools' endpoints are spoken to.
Status SetScheme(const Flags& flags, serving::PoolOptions& pool) {
  const net::TlsContext::ClientOptions& tls = flags.endpoint_tls;
  pool.scheme = model::SchemeOf(flags.endpoint_scheme);
  const bool tls_given = !tls.ca_path.empty() || !tls.certificate_path.empty() || flags.endpoint_skip_verify ||
                         !flags.endpoint_tls_name.empty();
  const bool in_files = !pool.endpoints_path.empty() || !pool.config_path.empty();  // which may name https endpoints
  const auto https = [](const auto& endpoint) { return endpoint.scheme == model::Scheme::kHttps; };
  const bool tls_used = pool.scheme == model::Scheme::kHttps || in_files ||
                        std::any_of(pool.endpoints.begin(), pool.endpoints.end(), https) ||
                        std::any_of(pool.names.begin(), pool.names.end(), https);
  if (tls_given && !tls_used) {
    return Fail(
        Code::kInvalidArgument,
        "the --endpoint-… flags about certificates need --endpoint-scheme https, or an endpoint that is https://");
  }
  if (tls.certificate_path.empty() != tls.key_path.empty()) {
    return Fail(Code::kInvalidArgument, "--endpoint-client-cert and --endpoint-client-key belong together");
  }
  pool.tls = tls;
  pool.tls.verify = !flags.endpoint_skip_verify;
  pool.tls_name = flags.endpoint_tls_name;
  return {};
}

// Absent without --tls-cert.
Result<std::optional<net::TlsContext::Options>> ToTls(const Flags& flags) {
  net::TlsContext::Options tls{.client_ca_path = flags.client_ca, .protocols = {"h2", "http/1.1"}};
  if (flags.certificates.size() != flags.keys.size()) {
    return Fail(Code::kInvalidArgument,
                "--tls-cert and --tls-key belong together: give as many of one as of the other");
  }
  if (flags.certificates.empty()) {
    if (!flags.client_ca.empty()) {
      return Fail(Code::kInvalidArgument,
                  "--tls-client-ca needs --tls-cert and --tls-key: without TLS, clients show no certificate");
    }
    return std::optional<net::TlsContext::Options>();
  }
  tls.certificate_path = flags.certificates.front();
  tls.key_path = flags.keys.front();
  for (size_t i = 1; i < flags.keys.size(); ++i) tls.others.push_back({flags.certificates[i], flags.keys[i]});
  if (const Status set = ApplyTlsLimits(flags.tls_limits, tls); !set) return tl::unexpected(set.error());
  return std::optional(std::move(tls));
}

// Files that belong to one pool, named after it when there are several.
void SetFiles(const Flags& flags, bool only_pool, serving::PoolOptions& pool) {
  const auto named = [&](const std::string& path) { return only_pool ? path : path + "." + pool.name; };
  if (!flags.decision_log.empty()) pool.decision_log_path = named(flags.decision_log);
  pool.decision_log_bytes_max = flags.decision_log_bytes;
  if (!flags.state_dir.empty()) pool.state_path = flags.state_dir + "/latency-" + pool.name + ".json";
}

Result<gateway::GatewayOptions> ToOptions(const Flags& flags) {
  gateway::GatewayOptions options;
  options.listen = {flags.host, flags.port};
  options.reuse_port = flags.reuse_port;
  options.body_bytes_max = flags.body_max;
  options.body_timeout = FromSeconds(flags.body_seconds);
  options.body_rate_min = flags.body_rate_min;
  options.silence_max = FromSeconds(flags.silence_seconds);
  options.drain_timeout = FromSeconds(flags.drain_seconds);
  options.tries_max = flags.tries;
  options.seed = flags.seed;
  auto tls = ToTls(flags);
  if (!tls) return tl::unexpected(tls.error());
  options.tls = std::move(*tls);
  const size_t pools = std::max<size_t>(
      {1, flags.config_files.size(), flags.endpoint_files.size(), flags.pool_names.size(), flags.objects_files.size()});
  const auto fits = [pools](size_t n) { return n == 0 || n == pools; };
  if (!fits(flags.config_files.size()) || !fits(flags.endpoint_files.size()) || !fits(flags.pool_names.size()) ||
      !fits(flags.objects_files.size())) {
    return Fail(Code::kInvalidArgument,
                "--pool-name, --config-file, --endpoints-file and --objects-file describe pools in order: give each of "
                "them once per "
                "pool or not at all");
  }
  if (!flags.endpoints.empty() && pools > 1) {
    return Fail(Code::kInvalidArgument, "--endpoint works with one pool; with several, give each its --endpoints-file");
  }
  const auto shadows = Shadows(flags.shadows);
  if (!shadows) return tl::unexpected(shadows.error());
  if (!shadows->empty() && pools > 1) {
    return Fail(Code::kInvalidArgument, "--shadow works with one pool; run a gateway for the pool to be tried");
  }
  const auto cache_memory = std::make_shared<kvindex::MemoryBudget>(flags.cache_index_bytes);
  for (size_t i = 0; i < pools; ++i) {
    serving::PoolOptions pool;
    pool.cache_memory = cache_memory;
    pool.shadows = *shadows;
    if (!flags.pool_names.empty())
      pool.name = flags.pool_names[i];
    else if (pools > 1)
      pool.name = "pool-" + std::to_string(i);
    if (!flags.config_files.empty()) pool.config_path = flags.config_files[i];
    if (!flags.endpoint_files.empty()) pool.endpoints_path = flags.endpoint_files[i];
    if (const Status added = AddEndpoints(flags.endpoints, pool); !added) return tl::unexpected(added.error());
    if (!flags.objects_files.empty()) pool.objects_path = flags.objects_files[i];
    SetFiles(flags, pools == 1, pool);
    if (const Status set = SetScheme(flags, pool); !set) return tl::unexpected(set.error());
    pool.scrape_interval = FromSeconds(flags.refresh_ms / 1e3);
    pool.allow_experimental_plugins = flags.experimental;
    options.pools.push_back(std::move(pool));
  }
  return options;
}

runtime::Task<> StopOnSignal(runtime::Loop* loop, runtime::Signals* signals, gateway::Gateway* gateway) {
  co_await signals->Next();
  observe::Log(observe::Level::kInfo, "gateway", "draining");
  const size_t cut = co_await gateway->Drain();
  observe::Log(observe::Level::kInfo, "gateway", "stopped", {{"connections_cut", cut}});
  loop->Stop();
}

void LogListening(const gateway::Gateway& gateway) {
  observe::Log(observe::Level::kInfo, "gateway", "listening", {{"url", gateway.url()}});
}

// Beside a gateway that runs: on the port only when requests can be served.
runtime::Task<> TakeOver(runtime::Loop* loop, gateway::Gateway* gateway, Status* listening) {
  *listening = co_await gateway->ListenWhenReady(std::chrono::seconds(10));
  if (*listening) {
    LogListening(*gateway);
  } else {
    loop->Stop();
  }
}

Result<int> Run(const Flags& flags) {
  if (const Status log = ApplyLogOptions(); !log) return tl::unexpected(log.error());
  auto options = ToOptions(flags);
  if (!options) return tl::unexpected(options.error());
  runtime::Signals::Block({SIGTERM, SIGINT});
  runtime::Loop loop;
  runtime::Signals signals(loop, {SIGTERM, SIGINT});
  auto gateway = gateway::Gateway::Open(loop, std::move(*options));
  if (!gateway) return tl::unexpected(gateway.error());
  Status listening;
  runtime::TaskScope scope(loop);
  if (flags.reuse_port) {
    scope.Spawn(TakeOver(&loop, gateway->get(), &listening));
  } else {
    listening = (*gateway)->Listen();
    if (listening) LogListening(**gateway);
  }
  if (!listening) return tl::unexpected(listening.error());
  scope.Spawn(StopOnSignal(&loop, &signals, gateway->get()));
  RunWithBufferedLog(loop);
  if (!listening) return tl::unexpected(listening.error());
  return 0;
}

// What a request may take, in time and size.
void AddLimits(CLI::App& command, Flags& flags) {
  command.add_option("--drain-timeout", flags.drain_seconds, "seconds that running requests get on SIGTERM")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  command
      .add_option("--endpoint-timeout", flags.silence_seconds, "seconds of silence after which an endpoint is given up")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  command.add_option("--max-body-bytes", flags.body_max, "largest request body")->capture_default_str();
  command
      .add_option("--client-body-timeout", flags.body_seconds,
                  "seconds between two pieces of a request's body after which the client is given up")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  command
      .add_option("--client-body-min-rate", flags.body_rate_min,
                  "bytes a second that a request's body must come with, beyond that time; 0: however slowly")
      ->capture_default_str();
  command.add_option("--max-tries", flags.tries, "endpoints asked for one request when they cannot be reached")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
}

// TLS to clients, and how endpoints are spoken to.
void AddTlsOptions(CLI::App& command, Flags& flags) {
  command.add_option("--tls-cert", flags.certificates,
                     "file with the certificate and its chain (PEM): the port speaks TLS; reloaded on change; may be "
                     "repeated, and clients get the one that has the name they ask for, else the first");
  command.add_option("--tls-key", flags.keys, "file with its key (PEM); as often as --tls-cert, in the same order");
  command.add_option("--tls-client-ca", flags.client_ca,
                     "file of authorities (PEM): a client must show a certificate that one of them signed");
  AddTlsLimits(command, flags.tls_limits);
  command
      .add_option("--endpoint-scheme", flags.endpoint_scheme,
                  "how endpoints are spoken to that do not say it themselves: http (1.1), h2c (HTTP/2 in clear text), "
                  "or https, where they choose "
                  "HTTP/2 or 1.1")
      ->check(CLI::IsMember({"http", "h2c", "https"}))
      ->capture_default_str();
  command.add_option("--endpoint-ca", flags.endpoint_tls.ca_path,
                     "file of authorities (PEM) for endpoints' certificates (default: the system's)");
  command.add_option("--endpoint-tls-name", flags.endpoint_tls_name,
                     "name that endpoints' certificates must have (default: the endpoint's address)");
  command.add_flag("--endpoint-insecure-skip-verify", flags.endpoint_skip_verify,
                   "believe endpoints whatever certificate they show");
  command.add_option("--endpoint-client-cert", flags.endpoint_tls.certificate_path,
                     "file with a certificate to show to endpoints that ask for one (PEM)");
  command.add_option("--endpoint-client-key", flags.endpoint_tls.key_path, "file with its key (PEM)");
}

}  // namespace

CLI::App* AddGatewayCommand(CLI::App& root, Action& action) {
  static Flags flags;
  CLI::App* command =
      root.add_subcommand("gateway", "the HTTP front door: chooses an endpoint for each request and relays it");
  command->add_option("--host", flags.host, "address to listen on")->capture_default_str();
  command->add_option("--port", flags.port, "port to listen on; 0 takes a free one")->capture_default_str();
  command->add_flag(
      "--reuse-port", flags.reuse_port,
      "share the port with another gateway that has this flag too, which hands over on SIGTERM: a restart "
      "without a failed request");
  command->add_option("--config-file", flags.config_files,
                      "EndpointPickerConfig, reloaded on change; once per pool (default: upstream's default)");
  command->add_option("--endpoints-file", flags.endpoint_files,
                      "file of endpoints, reloaded on change; instead of the configuration's file-discovery");
  command->add_option("--objects-file", flags.objects_files,
                      "InferenceObjectives and InferenceModelRewrites (YAML), reloaded on change; once per pool");
  command->add_option(
      "--shadow", flags.shadows,
      "NAME=FILE: an EndpointPickerConfig that decides beside the live one without acting; may be repeated");
  command->add_option("--decision-log", flags.decision_log,
                      "file for every decision with its inputs (prompts made unreadable), for `sluice replay`");
  command->add_option("--decision-log-bytes", flags.decision_log_bytes, "size at which that log ends")
      ->capture_default_str();
  command
      ->add_option("--cache-index-bytes", flags.cache_index_bytes,
                   "limit of all pools' indexes of KV caches together (precise-prefix-cache-producer)")
      ->capture_default_str();
  command->add_option("--state-dir", flags.state_dir,
                      "folder in which the latency model's state is kept over a restart");
  command->add_option("--pool-name", flags.pool_names, "name of the pool, for logs and metrics");
  command->add_option(
      "--endpoint", flags.endpoints,
      "IP:PORT or NAME:PORT of a model server, with http://, h2c:// or https:// before it where it is not spoken to as "
      "--endpoint-scheme says; may be repeated; each address of a name is an endpoint, and the name is "
      "asked again every 5 s (30 s while the answer stays the same)");
  command
      ->add_option("--refresh-metrics-interval-ms", flags.refresh_ms, "time between two scrapes of an endpoint, in ms")
      ->check(CLI::Range(50.0, 60000.0))
      ->capture_default_str();
  command->add_flag("--allow-experimental-plugins", flags.experimental, "load Alpha plugins");
  AddLimits(*command, flags);
  command->add_option("--seed", flags.seed, "seed of random picks, to repeat a run; 0 takes one from the system")
      ->capture_default_str();
  AddTlsOptions(*command, flags);
  AddLogOptions(*command);
  command->footer(
      "Examples:\n"
      "  sluice gateway --endpoint 127.0.0.1:8000 --endpoint 127.0.0.1:8001\n"
      "  sluice gateway --config-file epp.yaml --endpoints-file endpoints.yaml --port 8080\n"
      "Then: curl http://127.0.0.1:8080/v1/models");
  action = [] { return Run(flags); };
  return command;
}

}  // namespace sluice::app

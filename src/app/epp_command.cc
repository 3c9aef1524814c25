// `sluice epp`: the endpoint picker behind Envoy. Flags are named as upstream's picker has them.
#include <csignal>
#include <cstdio>
#include <memory>

#include "app/buffered_log.h"
#include "app/command.h"
#include "app/tls_flags.h"
#include "base/text.h"
#include "codec/yaml/reader.h"
#include "extproc/picker.h"
#include "observe/log.h"
#include "runtime/signals.h"

namespace sluice::app {
namespace {

struct Flags {
  extproc::PickerOptions options;
  std::string config_text;
  std::vector<std::string> endpoints;
  uint64_t cache_index_bytes = serving::kCacheBytesMax;
  std::string state_dir;
  std::string refresh = "50ms";
  std::string drain = "30s";
  std::string receive_max = "4Mi";
  std::string send_max = "4Mi";
  bool ignore_subset = false;
  bool secure = true;
  std::string cert_path;
  TlsLimits tls_limits;
  size_t body_max = size_t{64} << 20;
};

// Flags of upstream's picker that cannot be honoured here, with the reason. A switch may be given as what it is here.
struct Refused {
  const char* name;
  const char* why;
  bool is_switch = false;
};
constexpr const char* kNeedsKubernetes =
    "needs Kubernetes, which this picker does not talk to: name the endpoints by file (--endpoints-file, or "
    "file-discovery "
    "in the configuration)";
constexpr const char* kMetricNames =
    "was removed upstream: the names of an engine's metrics are parameters of core-metrics-extractor in the "
    "configuration";
constexpr const char* kLogFlags = "is not there: --log-level, --log-levels and --log-format say what is logged and how";
constexpr Refused kRefused[] = {
    {"--pool-namespace", kNeedsKubernetes},
    {"--pool-group", kNeedsKubernetes},
    {"--endpoint-selector", kNeedsKubernetes},
    {"--endpoint-target-ports", kNeedsKubernetes},
    {"--ha-enable-leader-election", kNeedsKubernetes, true},
    {"--metrics-endpoint-auth", kNeedsKubernetes, true},
    {"--metrics-cert-dir", "is not there: the metrics port speaks plain HTTP"},
    {"--metrics-client-ca-file", "is not there: the metrics port speaks plain HTTP"},
    {"--total-queued-requests-metric", kMetricNames},
    {"--total-running-requests-metric", kMetricNames},
    {"--kv-cache-usage-percentage-metric", kMetricNames},
    {"--lora-info-metric", kMetricNames},
    {"--cache-info-metric", kMetricNames},
    {"--metrics-staleness-threshold", "is not there: metrics are stale after 2 s"},
    {"--refresh-prometheus-metrics-interval", "is not there: the pool's gauges are computed when they are asked for"},
    {"--enable-pprof", "is not there: profile this program with perf", true},
    {"--tracing", "is not there: this picker writes receipts (/debug/decisions/ID on the metrics port)", true},
    {"--enable-grpc-stream-metrics", "is not there: /metrics counts requests, each of which is a stream", true},
    {"-v", kLogFlags},
    {"--zap-log-level", kLogFlags},
    {"--zap-encoder", kLogFlags},
};

void AddRefused(CLI::App& command) {
  for (const Refused& refused : kRefused) {
    const auto refuse = [&refused](const std::string& value) -> bool {
      if (refused.is_switch && (value == "false" || value == "-1")) return true;
      throw CLI::ValidationError(std::string(refused.name) + " " + refused.why);
    };
    CLI::Option* option = nullptr;
    if (refused.is_switch) {
      option = command.add_flag_function(refused.name, [refuse](int64_t count) { refuse(std::to_string(count)); }, "");
    } else {
      option = command.add_option_function<std::string>(refused.name, refuse, "");
    }
    option->group("");  // not in --help
  }
}

Result<Duration> ToDuration(const char* flag, const std::string& text, Duration least) {
  const auto duration = codec::yaml::ParseDuration(text);
  if (duration) return std::max(*duration, least);
  return Fail(Code::kInvalidArgument, std::string(flag) + " '" + text + "' is not a time; write 50ms, 30s or 5m");
}

Result<size_t> ToBytes(const char* flag, std::string text) {
  const std::string written = text;
  if (!text.empty() && (text.back() == 'B' || text.back() == 'b')) text.pop_back();
  const auto bytes = codec::yaml::ParseQuantity(text);
  if (bytes && *bytes > 0 && *bytes <= int64_t{1} << 30) return static_cast<size_t>(*bytes);
  return Fail(Code::kInvalidArgument,
              std::string(flag) + " '" + written + "' is not a size up to 1Gi; write 4Mi, 8MiB or 4194304");
}

Result<net::TlsContext::Options> ToTls(const Flags& flags) {
  net::TlsContext::Options tls;
  if (!flags.cert_path.empty()) {
    tls.certificate_path = flags.cert_path + "/tls.crt";
    tls.key_path = flags.cert_path + "/tls.key";
  }
  if (const Status set = ApplyTlsLimits(flags.tls_limits, tls); !set) return tl::unexpected(set.error());
  return tls;
}

// The configuration given as text is read like one in a file, so that there is one way to read it.
struct TextFile {
  std::unique_ptr<FILE, int (*)(FILE*)> file{nullptr, std::fclose};
  std::string path;
};
Result<TextFile> KeepText(const std::string& text) {
  TextFile kept;
  kept.file.reset(std::tmpfile());
  if (kept.file == nullptr || std::fwrite(text.data(), 1, text.size(), kept.file.get()) != text.size() ||
      std::fflush(kept.file.get()) != 0) {
    return Fail(Code::kInternal, "no temporary file can be written for --config-text");
  }
  kept.path = "/proc/self/fd/" + std::to_string(fileno(kept.file.get()));
  return kept;
}

Status ReadEndpoints(const Flags& flags, serving::PoolOptions& pool) {
  for (const std::string& text : flags.endpoints) {
    const auto address = net::Address::Parse(text);
    if (!address) {
      return Fail(Code::kInvalidArgument,
                  "--endpoint '" + text + "' is not an endpoint; write IP:PORT, as 127.0.0.1:8000 or [::1]:8000");
    }
    pool.endpoints.push_back({.id = "default/" + text, .name = text, .address = address->host, .port = address->port});
  }
  return {};
}

Result<extproc::PickerOptions> ToOptions(const Flags& flags) {
  extproc::PickerOptions options = flags.options;
  if (const Status read = ReadEndpoints(flags, options.pool); !read) return tl::unexpected(read.error());
  const auto refresh = ToDuration("--refresh-metrics-interval", flags.refresh, std::chrono::milliseconds(50));
  if (!refresh) return tl::unexpected(refresh.error());
  options.pool.scrape_interval = *refresh;
  options.pool.cache_memory = std::make_shared<kvindex::MemoryBudget>(flags.cache_index_bytes);
  const auto receive = ToBytes("--grpc-max-recv-msg-size", flags.receive_max);
  if (!receive) return tl::unexpected(receive.error());
  const auto send = ToBytes("--grpc-max-send-msg-size", flags.send_max);
  if (!send) return tl::unexpected(send.error());
  options.receive_bytes_max = *receive;
  options.send_bytes_max = *send;
  const auto tls = ToTls(flags);
  if (!tls) return tl::unexpected(tls.error());
  options.tls = flags.secure ? std::optional(*tls) : std::nullopt;
  if (options.reload_certificate && (!flags.secure || flags.cert_path.empty())) {
    return Fail(Code::kInvalidArgument, "--enable-cert-reload needs --cert-path and TLS: there is no file to watch");
  }
  options.stream.use_subset_hint = !flags.ignore_subset;
  options.stream.body_bytes_max = flags.body_max;
  if (!flags.state_dir.empty()) options.pool.state_path = flags.state_dir + "/latency-" + options.pool.name + ".json";
  return options;
}

// Upstream's order: not ready at once, serving as before for the drain time, then no new streams and the end. A second
// signal ends the waiting.
runtime::Task<> StopOnSignal(runtime::Loop* loop, runtime::Signals* signals, extproc::Picker* picker, Duration drain) {
  co_await signals->Next();
  picker->BeginDrain();
  observe::Log(observe::Level::kInfo, "extproc", "draining", {{"seconds", Seconds(drain)}});
  struct SecondSignal {
    static runtime::Task<> Wait(runtime::Signals* signals, runtime::Event* hurry) {
      co_await signals->Next();
      hurry->Set();
    }
  };
  runtime::Event hurry(*loop);
  runtime::TaskScope scope(*loop);
  scope.Spawn(SecondSignal::Wait(signals, &hurry));
  runtime::Timer timer(*loop);
  timer.SetAfter(drain);
  co_await runtime::AnyOf(timer, hurry);
  const size_t cut = co_await picker->Drain(hurry.ready() ? Duration::zero() : drain);
  observe::Log(observe::Level::kInfo, "extproc", "stopped", {{"connections_cut", cut}});
  loop->Stop();
}

Result<int> Run(Flags& flags) {
  if (const Status log = ApplyLogOptions(); !log) return tl::unexpected(log.error());
  const auto drain = ToDuration("--drain-timeout", flags.drain, Duration::zero());
  if (!drain) return tl::unexpected(drain.error());
  auto options = ToOptions(flags);
  if (!options) return tl::unexpected(options.error());
  TextFile text;
  if (!flags.config_text.empty()) {
    auto kept = KeepText(flags.config_text);
    if (!kept) return tl::unexpected(kept.error());
    text = std::move(*kept);
    options->pool.config_path = text.path;
  }
  runtime::Signals::Block({SIGTERM, SIGINT});
  runtime::Loop loop;
  runtime::Signals signals(loop, {SIGTERM, SIGINT});
  auto picker = extproc::Picker::Open(loop, std::move(*options));
  if (!picker) {
    Error error = picker.error();
    for (size_t at; !text.path.empty() && (at = error.message.find(text.path)) != std::string::npos;) {
      error.message.replace(at, text.path.size(), "--config-text");
    }
    return tl::unexpected(std::move(error));
  }
  if (const Status listening = (*picker)->Listen(); !listening) return tl::unexpected(listening.error());
  observe::Log(observe::Level::kInfo, "extproc", "listening",
               {{"url", "http://" + (*picker)->metrics_address().ToString()},
                {"ext_proc", (*picker)->address().ToString()},
                {"health", (*picker)->health_address().ToString()},
                {"tls", flags.secure}});
  runtime::TaskScope scope(loop);
  scope.Spawn(StopOnSignal(&loop, &signals, picker->get(), *drain));
  RunWithBufferedLog(loop);
  return 0;
}

void AddPoolFlags(CLI::App& command, Flags& flags) {
  serving::PoolOptions& pool = flags.options.pool;
  CLI::Option* file = command.add_option("--config-file", pool.config_path,
                                         "EndpointPickerConfig, reloaded on change (default: upstream's default)");
  command.add_option("--config-text", flags.config_text, "EndpointPickerConfig as text")->excludes(file);
  command.add_option("--pool-name", pool.name, "name of the pool, for logs and metrics")->capture_default_str();
  command.add_option("--endpoints-file", pool.endpoints_path,
                     "file of endpoints, reloaded on change; instead of the configuration's file-discovery");
  command.add_option("--endpoint", flags.endpoints, "IP:PORT of a model server, may be repeated");
  command.add_option("--objects-file", pool.objects_path,
                     "InferenceObjectives and InferenceModelRewrites (YAML), reloaded on change");
  command
      .add_option("--cache-index-bytes", flags.cache_index_bytes,
                  "limit of the index of KV caches (precise-prefix-cache-producer)")
      ->capture_default_str();
  command.add_option("--state-dir", flags.state_dir,
                     "folder in which the latency model's state is kept over a restart");
  command
      .add_option("--refresh-metrics-interval", flags.refresh, "time between two scrapes of an endpoint, at least 50ms")
      ->capture_default_str();
  command.add_flag("--allow-experimental-plugins", pool.allow_experimental_plugins, "load Alpha plugins");
  command
      .add_option("--seed", flags.options.seed, "seed of random picks, to repeat a run; 0 takes one from the system")
      ->capture_default_str();
}

void AddServerFlags(CLI::App& command, Flags& flags) {
  extproc::PickerOptions& options = flags.options;
  command.add_option("--host", options.host, "address to listen on")->capture_default_str();
  command.add_option("--grpc-port", options.port, "port of ext_proc; 0 takes a free one")->capture_default_str();
  command.add_option("--grpc-health-port", options.health_port, "port of gRPC health, in clear text")
      ->capture_default_str();
  command.add_option("--metrics-port", options.metrics_port, "port of /metrics and /debug")->capture_default_str();
  command.add_flag("--health-checking", options.health_on_main_port, "gRPC health on the ext_proc port, too");
  command.add_flag("--secure-serving{true}", flags.secure,
                   "TLS on the ext_proc port (the default; =false: clear text)");
  command.add_option("--cert-path", flags.cert_path,
                     "folder with tls.crt and tls.key (default: a self-signed certificate is made)");
  command.add_flag("--enable-cert-reload", options.reload_certificate,
                   "use other files in --cert-path when they change");
  AddTlsLimits(command, flags.tls_limits);
  command.add_option("--grpc-max-recv-msg-size", flags.receive_max, "largest message from Envoy")
      ->capture_default_str();
  command.add_option("--grpc-max-send-msg-size", flags.send_max, "largest message to Envoy")->capture_default_str();
  command.add_option("--max-body-bytes", flags.body_max, "largest request body")->capture_default_str();
  command.add_flag("--disable-endpoint-subset-filter", flags.ignore_subset,
                   "ignore the subset of endpoints that the data plane asks for");
  command.add_flag("--emit-endpoint-scores", options.emit_scores, "tell Envoy every endpoint's score, as metadata");
  command
      .add_option("--drain-timeout", flags.drain,
                  "on SIGTERM: time of serving while not ready, and then for requests under way")
      ->capture_default_str();
}

}  // namespace

CLI::App* AddEppCommand(CLI::App& root, Action& action) {
  static Flags flags;
  CLI::App* command = root.add_subcommand("epp", "the endpoint picker behind Envoy, over ext_proc");
  AddServerFlags(*command, flags);
  AddPoolFlags(*command, flags);
  AddRefused(*command);
  AddLogOptions(*command);
  command->footer(
      "Examples:\n"
      "  sluice epp --config-file epp.yaml --endpoints-file endpoints.yaml\n"
      "  sluice epp --endpoint 127.0.0.1:8000 --endpoint 127.0.0.1:8001 --secure-serving=false\n"
      "deploy/envoy/ has configurations of Envoy for it.");
  action = [] { return Run(flags); };
  return command;
}

}  // namespace sluice::app

#include "control/platform.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/check.h"
#include "base/text.h"
#include "codec/json/write.h"
#include "control/model_file.h"
#include "schedule/config.h"
#include "schedule/config_document.h"
#include "schedule/registry.h"

namespace sluice::control {
namespace {

constexpr int kGatewayRank = 0;
// Time for requests under way at a stop; then the gateway cuts them itself, and has a little more to end.
constexpr int kDrainSeconds = 25;
constexpr int kPickerRank = 1;
constexpr int kWorkerRank = 2;
constexpr const char* kEnvoyFile = "envoy.yaml";
constexpr size_t kServiceNameMax = 63;
// As KServe labels the pods of such a service, so that a scheduler configuration's selectors mean the same here.
constexpr const char* kLabels =
    "  labels:\n"
    "    app.kubernetes.io/part-of: llminferenceservice\n"
    "    app.kubernetes.io/component: llminferenceservice-workload\n"
    "    kserve.io/component: workload\n"
    "    llm-d.ai/role: both\n"
    "    llm-d.ai/accelerator: cpu\n";  // the latency model starts from a processor's figures

std::string WorkerName(const PlannedService& service, size_t index) {
  return service.key + "-" + std::to_string(index);
}

std::string Quoted(std::string_view text) {
  std::string out;
  codec::AppendQuoted(out, text);  // a JSON string is a YAML string
  return out;
}

// Engine threads of one worker. ggml spins while it waits, so threads beyond the cores make everyone slower; one core
// is left to the gateway where there is more than one.
unsigned ThreadsPerWorker(unsigned cores, size_t workers) {
  const unsigned free = cores > 1 ? cores - 1 : 1;
  return std::max<unsigned>(1, free / static_cast<unsigned>(std::max<size_t>(1, workers)));
}

bool HasFlag(const std::vector<std::string>& args, std::string_view flag) {
  return std::ranges::any_of(args, [&](const std::string& arg) { return arg.substr(0, arg.find('=')) == flag; });
}

// Prompts can be read from events: they are published on the loopback address only.
std::string EventsConfig(const PlannedService& service, size_t index) {
  std::string text;
  codec::JsonWriter(text)
      .BeginObject()
      .Field("enable_kv_cache_events", true)
      .Field("endpoint", "tcp://" + service.events[index].ToString())
      .Field("bind", true)
      .Field("replay_endpoint", "tcp://" + service.replays[index].ToString())
      .Field("topic", "kv@" + service.workers[index].ToString() + "@" + service.spec.model_name)
      .EndObject();
  return text;
}

bool ReadsEvents(const schedule::Policy& policy) {
  return std::ranges::any_of(policy.producers, [](const auto& bound) { return bound.producer->FromOutside(); });
}

ProcessSpec Worker(const PlannedService& service, size_t index, unsigned threads, const PlatformOptions& options,
                   const StateDir& dir) {
  const net::Address& address = service.workers[index];
  ProcessSpec process{.name = WorkerName(service, index),
                      .role = "worker",
                      .service = service.key,
                      .command = {},
                      .address = address,
                      .probe = address,
                      .ready_target = "/health",
                      .stop_rank = kWorkerRank,
                      .stop_max = std::chrono::seconds(10)};
  process.command.argv = {
      options.executable,      "worker", "--model",    service.model_file, "--served-model-name",
      service.spec.model_name, "--host", address.host, "--port",           std::to_string(address.port)};
  auto& argv = process.command.argv;
  if (!HasFlag(service.spec.worker_args, "--threads")) {
    argv.insert(argv.end(), {"--threads", std::to_string(threads)});
  }
  if (service.kv_events) argv.insert(argv.end(), {"--kv-events-config", EventsConfig(service, index)});
  argv.insert(argv.end(), service.spec.worker_args.begin(), service.spec.worker_args.end());
  for (const EnvVar& variable : service.spec.env) process.command.env.emplace_back(variable.name, variable.value);
  process.command.log_file = dir.LogFile(process.name);
  return process;
}

std::string EppFile(const PlannedService& service, const StateDir& dir) {
  return dir.File("epp-" + service.key + ".yaml");
}
std::string EndpointsFile(const PlannedService& service, const StateDir& dir) {
  return dir.File("endpoints-" + service.key + ".yaml");
}

ProcessSpec FrontDoor(const char* name, const PlatformOptions& options, const StateDir& dir) {
  ProcessSpec door{.name = name,
                   .role = "gateway",
                   .service = "",
                   .command = {},
                   .address = options.listen,
                   .probe = LocalTarget(options.listen),
                   .ready_target = "/ready",
                   .stop_rank = kGatewayRank,
                   .stop_max = std::chrono::seconds(kDrainSeconds + 5)};
  door.command.log_file = dir.LogFile(name);
  return door;
}

ProcessSpec Gateway(const std::vector<PlannedService>& services, const PlatformOptions& options, const StateDir& dir) {
  ProcessSpec gateway = FrontDoor("gateway", options, dir);
  auto& argv = gateway.command.argv;
  argv = {options.executable, "gateway",
          "--host",           options.listen.host,
          "--port",           std::to_string(options.listen.port),
          "--drain-timeout",  std::to_string(kDrainSeconds),
          "--state-dir",      dir.path()};
  for (const PlannedService& service : services) {
    argv.insert(argv.end(), {"--pool-name", service.key, "--config-file", EppFile(service, dir), "--endpoints-file",
                             EndpointsFile(service, dir)});
  }
  return gateway;
}

// Told to stop when Envoy is gone, so there is nothing to wait for.
ProcessSpec Picker(const PlannedService& service, const PlatformOptions& options, const StateDir& dir) {
  const EnvoySetup& envoy = *options.envoy;
  ProcessSpec picker{.name = "picker",
                     .role = "picker",
                     .service = "",
                     .command = {},
                     .address = envoy.pages,
                     .probe = envoy.pages,
                     .ready_target = "/debug/endpoints",
                     .stop_rank = kPickerRank,
                     .stop_max = std::chrono::seconds(10)};
  picker.command.argv = {options.executable,
                         "epp",
                         "--host",
                         envoy.ext_proc.host,
                         "--grpc-port",
                         std::to_string(envoy.ext_proc.port),
                         "--grpc-health-port",
                         std::to_string(envoy.health.port),
                         "--metrics-port",
                         std::to_string(envoy.pages.port),
                         "--health-checking",
                         "--secure-serving=false",
                         "--drain-timeout",
                         "0s",
                         "--state-dir",
                         dir.path(),
                         "--pool-name",
                         service.key,
                         "--config-file",
                         EppFile(service, dir),
                         "--endpoints-file",
                         EndpointsFile(service, dir)};
  picker.command.log_file = dir.LogFile(picker.name);
  return picker;
}

// One worker thread: as many as the gateway, which it stands in for, has.
ProcessSpec Envoy(const PlatformOptions& options, const StateDir& dir) {
  const EnvoySetup& envoy = *options.envoy;
  ProcessSpec process = FrontDoor("envoy", options, dir);
  process.probe = envoy.admin;
  process.command.argv = {envoy.program, "-c",      dir.File(kEnvoyFile),   "--concurrency", "1",
                          "-l",          "warning", "--disable-hot-restart"};
  process.drain = DrainByHttp{.address = envoy.admin,
                              .begin_target = "/drain_listeners",
                              .left_target = "/stats?filter=^http.inference.downstream_rq_active$",
                              .max = std::chrono::seconds(kDrainSeconds)};
  return process;
}

// A name for Kubernetes and files from any text: lower case, other characters become '-'.
std::string DnsLabel(std::string_view text) {
  std::string label;
  for (const char c : AsciiLower(text.substr(0, kServiceNameMax))) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (good || (!label.empty() && label.back() != '-')) label += good ? c : '-';
  }
  while (!label.empty() && label.back() == '-') label.pop_back();
  return label.empty() ? "model" : label;
}

Status CheckScheduler(PlannedService& service) {
  if (!service.spec.scheduler_config_yaml) {
    service.scheduler_config = schedule::DefaultConfigText();
    return {};
  }
  service.scheduler_config = *service.spec.scheduler_config_yaml;
  const std::string where = "service '" + service.spec.name + "': spec.router.scheduler.config.inline";
  const auto loaded = schedule::LoadConfig(service.scheduler_config, schedule::BuiltinRegistry());
  if (!loaded) return Fail(loaded.error().code, where + ": " + loaded.error().message, loaded.error().param);
  for (const std::string& warning : loaded->warnings) service.spec.notices.push_back(where + ": " + warning);
  // Arguments of the manifest's own say where events go; then its endpoints' ports are the configuration's.
  service.kv_events = ReadsEvents(*loaded->policy) && !HasFlag(service.spec.worker_args, "--kv-events-config");
  return {};
}

}  // namespace

Result<ServiceSpec> ServiceForModelFile(const std::string& file, const std::vector<std::string>& model_folders) {
  std::error_code error;
  std::vector<std::string> folders = {std::filesystem::current_path(error).string()};
  folders.insert(folders.end(), model_folders.begin(), model_folders.end());
  const auto found = FindModelFile(file, "--model", folders);
  if (!found) return tl::unexpected(found.error());
  auto builtin = ReadManifest(DefaultManifest(), "the built-in manifest");
  SLUICE_CHECK(builtin && builtin->size() == 1, "the built-in manifest reads as one service");
  ServiceSpec service = std::move(builtin->front());
  const std::filesystem::path path(*found);
  service.model_uri = *found;
  service.model_name = path.extension() == ".gguf" ? path.stem().string() : path.filename().string();
  service.name = DnsLabel(service.model_name);
  return service;
}

Result<std::vector<PlannedService>> PlanServices(std::vector<ServiceSpec> specs,
                                                 const std::vector<std::string>& model_folders) {
  std::vector<PlannedService> services;
  std::map<std::string, int> name_count;
  std::map<std::string, std::string> service_of_model;
  int64_t workers = 0;
  for (const ServiceSpec& spec : specs) ++name_count[spec.name];
  for (ServiceSpec& spec : specs) {
    PlannedService service;
    service.key = name_count[spec.name] == 1 ? spec.name : spec.name_space + "." + spec.name;
    const auto [other, fresh] = service_of_model.emplace(spec.model_name, spec.name);
    if (!fresh) {
      return Fail(Code::kInvalidArgument, "services '" + other->second + "' and '" + spec.name +
                                              "' both serve the model name '" + spec.model_name +
                                              "'; give one of them another spec.model.name");
    }
    if (spec.replicas < 1) {
      return Fail(Code::kInvalidArgument, "service '" + spec.name +
                                              "': spec.replicas is 0, and on one machine nothing would start it when "
                                              "a request comes; use 1 or more");
    }
    workers += spec.replicas;
    if (workers > kWorkersMax) {
      return Fail(Code::kInvalidArgument, "more than " + std::to_string(kWorkersMax) +
                                              " workers on one machine; lower spec.replicas or --replicas");
    }
    auto file = FindModelFile(spec.model_uri, "service '" + spec.name + "': spec.model.uri", model_folders);
    if (!file) return tl::unexpected(file.error());
    service.model_file = std::move(*file);
    service.spec = std::move(spec);
    if (Status checked = CheckScheduler(service); !checked) return tl::unexpected(checked.error());
    services.push_back(std::move(service));
  }
  return services;
}

size_t EventPortCount(const std::vector<PlannedService>& services) {
  size_t count = 0;
  for (const PlannedService& service : services) {
    if (service.kv_events) count += 2 * static_cast<size_t>(service.spec.replicas);
  }
  return count;
}

size_t WorkerCount(const std::vector<PlannedService>& services) {
  size_t count = 0;
  for (const PlannedService& service : services) count += static_cast<size_t>(service.spec.replicas);
  return count;
}

Status CheckEnvoyServes(const std::vector<PlannedService>& services) {
  if (services.size() == 1) return {};
  return Fail(Code::kInvalidArgument,
              "--proxy: a picker behind Envoy serves one service, and the manifest has " +
                  std::to_string(services.size()) + "; leave --proxy out, or start them one by one",
              "--proxy");
}

std::vector<ProcessSpec> PlanProcesses(const std::vector<PlannedService>& services, const PlatformOptions& options,
                                       const StateDir& dir) {
  const unsigned threads = ThreadsPerWorker(options.cores, WorkerCount(services));
  std::vector<ProcessSpec> processes;
  for (const PlannedService& service : services) {
    for (size_t i = 0; i < service.workers.size(); ++i) {
      processes.push_back(Worker(service, i, threads, options, dir));
    }
  }
  if (options.envoy) {
    SLUICE_CHECK(services.size() == 1, "CheckEnvoyServes has looked");
    processes.push_back(Picker(services.front(), options, dir));
    processes.push_back(Envoy(options, dir));
  } else {
    processes.push_back(Gateway(services, options, dir));
  }
  return processes;
}

std::string EndpointsYaml(const PlannedService& service) {
  std::string text = "# Written by `sluice up`: the workers of service " + service.key + ".\nendpoints:\n";
  for (size_t i = 0; i < service.workers.size(); ++i) {
    text += "- name: " + Quoted(WorkerName(service, i)) + "\n  namespace: " + Quoted(service.spec.name_space) +
            "\n  address: " + Quoted(service.workers[i].host) + "\n  port: \"" +
            std::to_string(service.workers[i].port) + "\"\n" + kLabels +
            "    app.kubernetes.io/name: " + Quoted(service.spec.name) +
            "\n    llm-d.ai/model: " + Quoted(service.key) + "\n";
    if (!service.kv_events) continue;
    text += "    llm-d.ai/kv-events-port: \"" + std::to_string(service.events[i].port) +
            "\"\n    llm-d.ai/kv-events-replay-port: \"" + std::to_string(service.replays[i].port) + "\"\n";
  }
  return text;
}

Status WriteGatewayFiles(const std::vector<PlannedService>& services, const PlatformOptions& options,
                         const StateDir& dir) {
  for (const PlannedService& service : services) {
    if (Status s = WriteAtomically(EppFile(service, dir), service.scheduler_config); !s) return s;
    if (Status s = WriteAtomically(EndpointsFile(service, dir), EndpointsYaml(service)); !s) return s;
  }
  if (!options.envoy) return {};
  return WriteAtomically(dir.File(kEnvoyFile), EnvoyConfig(*options.envoy, options.listen, services.front().workers));
}

net::Address LocalTarget(const net::Address& listen) {
  if (listen.host == "::") return {"::1", listen.port};
  const bool any = listen.host.empty() || listen.host == "*" || listen.host == "0.0.0.0";
  return any ? net::Address{"127.0.0.1", listen.port} : listen;
}

}  // namespace sluice::control

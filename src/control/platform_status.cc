#include "control/platform_status.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/text.h"
#include "codec/json/dom.h"
#include "codec/json/write.h"

namespace sluice::control {
namespace {

constexpr size_t kStatusBytesMax = size_t{1} << 20;
constexpr int kVersion = 1;

void Write(codec::JsonWriter& json, const ProcessRecord& process) {
  json.BeginObject()
      .Field("name", process.name)
      .Field("role", process.role)
      .Field("service", process.service)
      .Field("state", process.state)
      .Field("pid", process.pid)
      .Field("address", process.address)
      .Field("restarts", process.restarts)
      .Field("since", process.since_unix)
      .Field("last_end", process.last_end)
      .Field("log", process.log)
      .EndObject();
}

ServiceStatus ReadService(const nlohmann::ordered_json& json) {
  return {.name = json.at("name"),
          .ns = json.at("namespace"),
          .model = json.at("model"),
          .model_file = json.at("model_file"),
          .replicas = json.at("replicas")};
}

ProcessRecord ReadProcess(const nlohmann::ordered_json& json) {
  return {.name = json.at("name"),
          .role = json.at("role"),
          .service = json.at("service"),
          .state = json.at("state"),
          .pid = json.at("pid"),
          .address = json.at("address"),
          .restarts = json.at("restarts"),
          .since_unix = json.at("since"),
          .last_end = json.at("last_end"),
          .log = json.at("log")};
}

}  // namespace

std::string ToJson(const PlatformStatus& status) {
  std::string text;
  codec::JsonWriter json(text);
  json.BeginObject()
      .Field("version", kVersion)
      .Field("phase", status.phase)
      .Field("supervisor_pid", status.supervisor_pid)
      .Field("supervisor_start_ticks", status.supervisor_start_ticks)
      .Field("started", status.started_unix)
      .Field("host", status.host)
      .Field("port", status.port)
      .Field("url", status.url);
  json.Key("services").BeginArray();
  for (const ServiceStatus& service : status.services) {
    json.BeginObject()
        .Field("name", service.name)
        .Field("namespace", service.ns)
        .Field("model", service.model)
        .Field("model_file", service.model_file)
        .Field("replicas", service.replicas)
        .EndObject();
  }
  json.EndArray().Key("processes").BeginArray();
  for (const ProcessRecord& process : status.processes) Write(json, process);
  json.EndArray().EndObject();
  text += '\n';
  return text;
}

Result<PlatformStatus> ParsePlatformStatus(std::string_view text) {
  const auto json = codec::ParseDom(text, {.bytes_max = kStatusBytesMax});
  if (!json) return tl::unexpected(json.error());
  try {
    if (json->at("version") != kVersion) {
      return Fail(Code::kUnprocessable, "it was written by another version of sluice (version " +
                                            codec::Dump(json->at("version")) + "); use that one's `down`");
    }
    PlatformStatus status{.phase = json->at("phase"),
                          .supervisor_pid = json->at("supervisor_pid"),
                          .supervisor_start_ticks = json->at("supervisor_start_ticks"),
                          .started_unix = json->at("started"),
                          .host = json->at("host"),
                          .port = json->at("port"),
                          .url = json->at("url"),
                          .services = {},
                          .processes = {}};
    for (const auto& service : json->at("services")) status.services.push_back(ReadService(service));
    for (const auto& process : json->at("processes")) status.processes.push_back(ReadProcess(process));
    return status;
  } catch (const nlohmann::json::exception& error) {
    return Fail(Code::kUnprocessable, std::string("it lacks a field: ") + error.what());
  }
}

ProcessRecord ToRecord(const ProcessStatus& status) {
  return {.name = status.spec->name,
          .role = status.spec->role,
          .service = status.spec->service,
          .state = std::string(Name(status.state)),
          .pid = status.pid,
          .address = status.spec->address.ToString(),
          .restarts = status.restarts,
          .since_unix = status.since_unix,
          .last_end = status.last_end,
          .log = status.spec->command.log_file};
}

uint64_t StartTicks(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  // The name in parentheses may hold anything; the fields after the last ')' start with number 3.
  const size_t close = text.rfind(')');
  if (close == std::string::npos) return 0;
  std::istringstream fields(text.substr(close + 1));
  std::string field;
  for (int number = 3; number <= 22; ++number) fields >> field;
  return ParseNumber<uint64_t>(field).value_or(0);
}

Result<PlatformStatus> RunningPlatform(const StateDir& dir) {
  const std::string none = "no platform is running on port " + std::to_string(dir.port());
  const auto text = ReadWhole(dir.StatusFile(), kStatusBytesMax);
  if (!StateLock::Held(dir)) {
    if (!text) return Fail(Code::kUnavailable, none + "; start one with `sluice up`");
    const auto last = ParsePlatformStatus(*text);
    const bool died = !last || (last->phase != "stopped" && last->phase != "failed");
    return Fail(Code::kUnavailable, none + (died ? "; the last one was killed" : "; the last one was stopped") +
                                        ", its logs are in " + dir.path() + "/logs");
  }
  if (!text)
    return Fail(Code::kUnavailable, "the platform on port " + std::to_string(dir.port()) + " is only just starting");
  auto status = ParsePlatformStatus(*text);
  if (!status) return Fail(status.error().code, "cannot read " + dir.StatusFile() + ": " + status.error().message);
  if (status->supervisor_start_ticks != StartTicks(status->supervisor_pid)) {
    return Fail(Code::kUnavailable, "the platform on port " + std::to_string(dir.port()) + " is only just starting");
  }
  return status;
}

Result<PlatformStatus> FindPlatform(const std::string& root, uint16_t port) {
  if (port != 0) return RunningPlatform(StateDir(root, port));
  std::vector<PlatformStatus> running;
  for (const uint16_t known : KnownPorts(root)) {
    const StateDir dir(root, known);
    if (!StateLock::Held(dir)) continue;
    auto status = RunningPlatform(dir);
    if (!status) return status;
    running.push_back(std::move(*status));
  }
  if (running.empty()) return Fail(Code::kUnavailable, "no platform is running; start one with `sluice up`");
  if (running.size() == 1) return std::move(running.front());
  std::string ports;
  for (const PlatformStatus& status : running) ports += (ports.empty() ? "" : ", ") + std::to_string(status.port);
  return Fail(Code::kInvalidArgument, "several platforms are running, on ports " + ports + "; choose one with --port");
}

}  // namespace sluice::control

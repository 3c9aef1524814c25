#include "control/platform_view.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "codec/json/dom.h"
#include "codec/json/write.h"
#include "codec/yaml/yaml.h"
#include "control/node_text.h"

namespace sluice::control {
namespace {

constexpr size_t kColumns = 9;
using Row = std::array<std::string, kColumns>;

template <class T>
std::optional<T> Optional(const nlohmann::ordered_json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_number()) return std::nullopt;
  return at->get<T>();
}

std::string Percent(const std::optional<double>& value) {
  if (!value) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.1f%%", *value * 100);
  return text;
}

std::string Count(const std::optional<int64_t>& value) { return value ? std::to_string(*value) : "-"; }

// The process's state, or why a ready one gets no requests.
std::string StateText(const EndpointView& endpoint) {
  const bool left_out = endpoint.process.state == "ready" && endpoint.seen && !endpoint.seen->in_rotation;
  return left_out ? "out-of-rotation" : endpoint.process.state;
}

Row ToRow(const EndpointView& endpoint) {
  const auto& seen = endpoint.seen;
  return {endpoint.process.service,
          endpoint.process.address,
          StateText(endpoint),
          std::to_string(endpoint.process.restarts),
          Percent(seen ? seen->kv_usage : std::nullopt),
          Count(seen ? seen->running : std::nullopt),
          Count(seen ? seen->waiting : std::nullopt),
          endpoint.model,
          endpoint.process.pid != 0 ? std::to_string(endpoint.process.pid) : "-"};
}

template <class T>
void OptionalField(codec::JsonWriter& json, std::string_view key, const std::optional<T>& value) {
  if (value) {
    json.Field(key, *value);
  } else {
    json.Field(key, nullptr);
  }
}

void TextOrNull(codec::JsonWriter& json, std::string_view key, const std::string& text) {
  if (text.empty()) {
    json.Field(key, nullptr);
  } else {
    json.Field(key, text);
  }
}

void PidField(codec::JsonWriter& json, pid_t pid) {
  if (pid != 0) {
    json.Field("pid", pid);
  } else {
    json.Field("pid", nullptr);
  }
}

void WriteEndpoint(codec::JsonWriter& json, const EndpointView& endpoint) {
  const auto& seen = endpoint.seen;
  json.BeginObject()
      .Field("service", endpoint.process.service)
      .Field("name", endpoint.process.name)
      .Field("endpoint", endpoint.process.address)
      .Field("state", endpoint.process.state);
  OptionalField(json, "in_rotation", seen ? std::optional(seen->in_rotation) : std::nullopt);
  json.Field("restarts", endpoint.process.restarts);
  OptionalField(json, "kv_use", seen ? seen->kv_usage : std::nullopt);
  OptionalField(json, "running", seen ? seen->running : std::nullopt);
  OptionalField(json, "waiting", seen ? seen->waiting : std::nullopt);
  OptionalField(json, "data_age_ms", seen ? seen->data_age_ms : std::nullopt);
  json.Field("model", endpoint.model);
  PidField(json, endpoint.process.pid);
  TextOrNull(json, "last_end", endpoint.process.last_end);
  json.Field("log", endpoint.process.log).EndObject();
}

// A process that stands before the workers; `answers` where somebody asked it.
void WriteDoor(codec::JsonWriter& json, std::string_view key, const std::optional<ProcessRecord>& door,
               std::optional<bool> answers) {
  if (!door) {
    json.Field(key, nullptr);
    return;
  }
  json.Key(key).BeginObject().Field("address", door->address).Field("state", door->state);
  PidField(json, door->pid);
  json.Field("restarts", door->restarts);
  TextOrNull(json, "last_end", door->last_end);
  json.Field("log", door->log);
  if (answers) json.Field("answers", *answers);
  json.EndObject();
}

std::string DoorText(const ProcessRecord& door) {
  std::string text = "  " + door.state;
  if (door.restarts > 0) text += "  restarts " + std::to_string(door.restarts);
  if (door.pid != 0) text += "  pid " + std::to_string(door.pid);
  return text;
}

int64_t ReadyEndpoints(const PlatformView& view, const std::string& service) {
  return std::ranges::count_if(view.endpoints, [&](const EndpointView& endpoint) {
    return endpoint.process.service == service && endpoint.process.state == "ready";
  });
}

}  // namespace

Result<std::vector<GatewayEndpoint>> ParseGatewayEndpoints(std::string_view text) {
  const auto json = codec::ParseDom(text, {});
  if (!json) return tl::unexpected(json.error());
  std::vector<GatewayEndpoint> all;
  try {
    for (const auto& pool : json->at("pools")) {
      for (const auto& endpoint : pool.at("endpoints")) {
        GatewayEndpoint one{.pool = pool.at("name"),
                            .address = endpoint.at("address"),
                            .in_rotation = endpoint.at("in_rotation"),
                            .kv_usage = {},
                            .running = {},
                            .waiting = {},
                            .data_age_ms = Optional<double>(endpoint, "data_age_ms")};
        if (one.data_age_ms) {  // without it the numbers were never read, and are zeros that mean nothing
          one.kv_usage = Optional<double>(endpoint, "kv_usage");
          one.running = Optional<int64_t>(endpoint, "running");
          one.waiting = Optional<int64_t>(endpoint, "waiting");
        }
        all.push_back(std::move(one));
      }
    }
  } catch (const nlohmann::json::exception& error) {
    return Fail(Code::kBadGateway, std::string("the gateway's /debug/endpoints lacks a field: ") + error.what());
  }
  return all;
}

PlatformView JoinView(PlatformStatus status, const std::optional<std::vector<GatewayEndpoint>>& seen) {
  PlatformView view{
      .status = std::move(status), .gateway_answers = seen.has_value(), .gateway = {}, .picker = {}, .endpoints = {}};
  for (const ProcessRecord& process : view.status.processes) {
    if (process.role == "gateway" || process.role == "picker") {
      (process.role == "gateway" ? view.gateway : view.picker) = process;
      continue;
    }
    EndpointView endpoint{.process = process, .model = "", .seen = std::nullopt};
    const auto service = std::ranges::find(view.status.services, process.service, &ServiceStatus::name);
    if (service != view.status.services.end()) endpoint.model = service->model;
    if (seen) {
      const auto found = std::ranges::find_if(*seen, [&](const GatewayEndpoint& candidate) {
        return candidate.address == process.address && candidate.pool == process.service;
      });
      if (found != seen->end()) endpoint.seen = *found;
    }
    view.endpoints.push_back(std::move(endpoint));
  }
  return view;
}

std::string ToTable(const PlatformView& view) {
  std::vector<Row> rows = {
      {"SERVICE", "ENDPOINT", "STATE", "RESTARTS", "KV-USE", "RUNNING", "WAITING", "MODEL", "PID"}};
  for (const EndpointView& endpoint : view.endpoints) rows.push_back(ToRow(endpoint));
  std::array<size_t, kColumns> widths{};
  for (const Row& row : rows) {
    for (size_t i = 0; i < kColumns; ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text = (view.picker ? "ENVOY   " : "GATEWAY ") + view.status.url;
  text += view.gateway ? DoorText(*view.gateway) : "  " + view.status.phase;
  text += view.gateway_answers ? "\n" : "  (does not answer: KV-USE, RUNNING and WAITING are not known)\n";
  if (view.picker) text += "PICKER  http://" + view.picker->address + DoorText(*view.picker) + "\n";
  text += "\n";
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < kColumns; ++i) {
      line += row[i];
      if (i + 1 < kColumns) line.append(widths[i] - row[i].size() + 3, ' ');
    }
    text += line + "\n";
  }
  const auto ended = [&text](const ProcessRecord& process) {
    if (process.last_end.empty()) return;
    text += "\n" + process.name + " ended last by: " + process.last_end + "\n  log: " + process.log + "\n";
  };
  if (view.picker) ended(*view.picker);
  for (const EndpointView& endpoint : view.endpoints) ended(endpoint.process);
  return text;
}

std::string ToJson(const PlatformView& view) {
  std::string text;
  codec::JsonWriter json(text);
  json.BeginObject()
      .Field("url", view.status.url)
      .Field("phase", view.status.phase)
      .Field("started", view.status.started_unix);
  json.Key("supervisor").BeginObject().Field("pid", view.status.supervisor_pid).EndObject();
  WriteDoor(json, "gateway", view.gateway, view.gateway_answers);
  WriteDoor(json, "picker", view.picker, std::nullopt);
  json.Key("services").BeginArray();
  for (const ServiceStatus& service : view.status.services) {
    json.BeginObject()
        .Field("name", service.name)
        .Field("namespace", service.ns)
        .Field("model", service.model)
        .Field("model_file", service.model_file)
        .Field("replicas", service.replicas)
        .Field("ready", ReadyEndpoints(view, service.name))
        .EndObject();
  }
  json.EndArray().Key("endpoints").BeginArray();
  for (const EndpointView& endpoint : view.endpoints) WriteEndpoint(json, endpoint);
  json.EndArray().EndObject();
  text += '\n';
  return text;
}

std::string ToYaml(const PlatformView& view) {
  const auto tree = codec::yaml::Parse(ToJson(view));  // JSON is YAML
  SLUICE_CHECK(tree, "our own JSON reads as YAML");
  return NodeText(*tree);
}

}  // namespace sluice::control

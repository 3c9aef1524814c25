// PlatformView: what `sluice get` shows: what the supervisor knows of each process joined with what the gateway knows
// of each endpoint. Pure; up.cc and get.cc bring the inputs.
//
// The JSON of ToJson (YAML has the same keys) is stable: keys are added, never renamed or removed. null: not known.
//   url, phase ("starting" | "ready" | "stopping"), started (Unix seconds), supervisor {pid},
//   gateway {address, state, pid, restarts, last_end, log, answers} (what clients talk to: ours, or Envoy),
//   picker {address, state, pid, restarts, last_end, log} (behind Envoy, else null; address: its /metrics and /debug),
//   services[] {name, namespace, model, model_file, replicas, ready},
//   endpoints[] {service, name, endpoint ("ip:port"), state, in_rotation, restarts, kv_use (0..1), running, waiting,
//                data_age_ms, model, pid, last_end, log}
// `state` is one of lifecycle.h's names. Thread rule: plain values. Cost: O(processes).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/platform_status.h"

namespace sluice::control {

// One endpoint as the gateway's GET /debug/endpoints tells it.
struct GatewayEndpoint {
  std::string pool;
  std::string address;
  bool in_rotation = false;
  std::optional<double> kv_usage;
  std::optional<int64_t> running;
  std::optional<int64_t> waiting;
  std::optional<double> data_age_ms;
};
Result<std::vector<GatewayEndpoint>> ParseGatewayEndpoints(std::string_view json);

struct EndpointView {
  ProcessRecord process;
  std::string model;
  std::optional<GatewayEndpoint> seen;  // nothing: the gateway did not answer or does not have it
};

struct PlatformView {
  PlatformStatus status;
  bool gateway_answers = false;
  std::optional<ProcessRecord> gateway;
  std::optional<ProcessRecord> picker;
  std::vector<EndpointView> endpoints;
};

PlatformView JoinView(PlatformStatus status, const std::optional<std::vector<GatewayEndpoint>>& seen);

std::string ToTable(const PlatformView& view);
std::string ToJson(const PlatformView& view);
std::string ToYaml(const PlatformView& view);

}  // namespace sluice::control

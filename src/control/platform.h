// Platform: what must run on this machine for a list of services: workers of each, one gateway before all of them, and
// the files that the gateway reads. Pure but for looking up model files and writing those files.
// Thread rule: plain values. Cost: a page of text.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/envoy.h"
#include "control/manifest.h"
#include "control/state_dir.h"
#include "control/supervisor.h"
#include "net/address.h"

namespace sluice::control {

// Processes that one machine is asked to run at once, at most.
inline constexpr int64_t kWorkersMax = 64;

struct PlatformOptions {
  std::string executable;  // of worker and gateway
  net::Address listen;     // the gateway's
  unsigned cores = 1;
  std::optional<EnvoySetup> envoy;  // Envoy and a picker in the gateway's place
};

// One service with everything decided.
struct PlannedService {
  ServiceSpec spec;
  std::string key;         // unique among the services of the platform, fit for a file name
  std::string model_file;  // absolute
  std::string scheduler_config;
  std::vector<net::Address> workers;
  bool kv_events = false;  // its scheduler configuration reads them: each worker publishes, at two ports of its own
  std::vector<net::Address> events, replays;
};

// The service for `--model FILE`: the built-in manifest's, with that model under the file's name. The file is looked up
// in the current folder first.
Result<ServiceSpec> ServiceForModelFile(const std::string& file, const std::vector<std::string>& model_folders);

// Checks what a manifest alone cannot show (model files, model names that clash, scheduler configurations) and decides
// the rest but the workers' addresses. Notices of scheduler configurations are added to the services'.
Result<std::vector<PlannedService>> PlanServices(std::vector<ServiceSpec> services,
                                                 const std::vector<std::string>& model_folders);
// Ports for KV events: two for each worker of a service that has them.
size_t EventPortCount(const std::vector<PlannedService>& services);
size_t WorkerCount(const std::vector<PlannedService>& services);

// A picker serves one pool: kInvalidArgument for more services than that behind Envoy.
Status CheckEnvoyServes(const std::vector<PlannedService>& services);

// The processes, workers first, what clients talk to last. That stops first: what it has accepted is answered. With
// Envoy there must be one service.
std::vector<ProcessSpec> PlanProcesses(const std::vector<PlannedService>& services, const PlatformOptions& options,
                                       const StateDir& dir);

// Upstream's file discovery format: {endpoints: [{name, namespace, address, port, labels}]}.
std::string EndpointsYaml(const PlannedService& service);
// epp-<key>.yaml and endpoints-<key>.yaml of each service, and Envoy's configuration.
Status WriteGatewayFiles(const std::vector<PlannedService>& services, const PlatformOptions& options,
                         const StateDir& dir);

// Where a client on this machine reaches a server that listens on `listen`.
net::Address LocalTarget(const net::Address& listen);

}  // namespace sluice::control

// PlatformStatus: what `sluice up` writes to status.json for `get` and `down`, and how the three tell whether the
// supervisor of a status is still there. The JSON is internal to one version of sluice; `sluice get -o json` is stable.
// Thread rule: plain values. Cost: one small file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/state_dir.h"
#include "control/supervisor.h"

namespace sluice::control {

struct ServiceStatus {
  std::string name;
  std::string ns;
  std::string model;       // as clients name it
  std::string model_file;  // where it was found
  int replicas = 0;
};

struct ProcessRecord {
  std::string name;
  std::string role;
  std::string service;
  std::string state;
  pid_t pid = 0;
  std::string address;
  int restarts = 0;
  double since_unix = 0;
  std::string last_end;
  std::string log;
};

struct PlatformStatus {
  std::string phase;  // starting, ready, stopping, stopped, failed
  pid_t supervisor_pid = 0;
  uint64_t supervisor_start_ticks = 0;  // when that pid began, so that a reused pid is not taken for it
  double started_unix = 0;
  std::string host;  // what the gateway listens on
  uint16_t port = 0;
  std::string url;
  std::vector<ServiceStatus> services;
  std::vector<ProcessRecord> processes;
};

std::string ToJson(const PlatformStatus& status);
Result<PlatformStatus> ParsePlatformStatus(std::string_view json);
ProcessRecord ToRecord(const ProcessStatus& status);

// Field 22 of /proc/<pid>/stat: when the process began, in ticks since boot; 0 when there is none.
uint64_t StartTicks(pid_t pid);

// The status of the platform on that port, if its supervisor lives. kUnavailable: nothing runs there (the message says
// where the logs are if something once did).
Result<PlatformStatus> RunningPlatform(const StateDir& dir);

// Of the platforms that run: the one on `port`, or with port 0 the only one. kUnavailable when there is none,
// kInvalidArgument when there are several.
Result<PlatformStatus> FindPlatform(const std::string& root, uint16_t port);

}  // namespace sluice::control

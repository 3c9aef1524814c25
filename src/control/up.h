// Up: `sluice up`: reads services, plans their processes, supervises them until told to stop, keeps status.json.
// Thread rule: main's thread; starts no other. Cost: idle but for one probe a process every two seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace sluice::control {

// What clients talk to: our gateway, or Envoy with our picker behind it.
enum class Proxy : uint8_t { kGateway, kEnvoy, kEnvoyLean };

struct UpOptions {
  std::string manifest_file;        // empty: the built-in manifest; "-": standard input
  std::string model;                // serves this file instead; excludes manifest_file
  std::optional<int64_t> replicas;  // of each service, instead of the manifest's
  std::string host = "127.0.0.1";
  uint16_t port = 8080;  // 0: any free one
  Proxy proxy = Proxy::kGateway;
  bool detach = false;
  std::string executable;  // of worker and gateway; empty: this program
};

// The exit code: 0 after a stop that was asked for, or once a detached platform is ready. Errors: what kept it from
// starting. With `detach` this returns in two processes: in the parent when the start is decided, in the supervisor
// when it ends.
Result<int> RunUp(const UpOptions& options);

}  // namespace sluice::control

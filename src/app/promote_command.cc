// `sluice promote`: makes a shadow policy the live one.
#include <cstdio>
#include <memory>

#include "app/command.h"
#include "app/http_once.h"
#include "net/query.h"

namespace sluice::app {
namespace {

struct Flags {
  std::string policy;
  std::string pool;
  std::string url = "http://127.0.0.1:8080";
};

Result<int> Run(const Flags& flags) {
  std::string target = "/debug/policy/promote?policy=" + net::QueryEscape(flags.policy);
  if (!flags.pool.empty()) target += "&pool=" + net::QueryEscape(flags.pool);
  const auto answer = BodyOf(PostOnce(flags.url, target, ""));
  if (!answer) return tl::unexpected(answer.error());
  std::printf(
      "policy '%s' is live; the one before goes on as a shadow\n"
      "It is taken back by itself when measured TTFT gets worse. Next: sluice explain --shadow\n",
      flags.policy.c_str());
  return 0;
}

}  // namespace

CLI::App* AddPromoteCommand(CLI::App& root, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = root.add_subcommand("promote", "makes a shadow policy of a running gateway the live one");
  command->add_option("POLICY", flags->policy, "name of the shadow policy; `configured` is the pool's own")->required();
  command->add_option("--pool", flags->pool, "its pool; not needed when there is one");
  command->add_option("--url", flags->url, "the gateway, on this machine")->capture_default_str();
  command->footer(
      "Requests on their way end with the policy they began with. The next 256 streamed answers are compared with "
      "those\n"
      "before; when their TTFT is worse (t test), the promotion is taken back: a log line and `sluice explain "
      "--shadow`\n"
      "say so.\n"
      "Example:\n"
      "  sluice gateway --endpoint 127.0.0.1:8000 --shadow trial=trial.yaml\n"
      "  sluice explain --shadow\n"
      "  sluice promote trial");
  action = [flags] { return Run(*flags); };
  return command;
}

}  // namespace sluice::app

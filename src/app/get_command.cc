// sluice get: what is running on this machine, and what a gateway knows of its engines' caches.
#include <cstdio>
#include <memory>
#include <string>

#include "app/command.h"
#include "app/http_once.h"
#include "control/commands.h"

namespace sluice::app {
namespace {

struct GetFlags {
  std::string what = "services";
  uint16_t port = 0;
  std::string url;
  std::string format = "table";
};

control::OutputFormat FormatOf(const std::string& name) {
  if (name == "json") return control::OutputFormat::kJson;
  return name == "yaml" ? control::OutputFormat::kYaml : control::OutputFormat::kTable;
}

Result<std::string> CacheText(const GetFlags& flags) {
  std::string url = flags.url;
  if (url.empty()) {
    auto found = control::GatewayUrl(flags.port);
    if (!found) return tl::unexpected(found.error());
    url = std::move(*found);
  }
  const control::OutputFormat format = FormatOf(flags.format);
  const bool table = format == control::OutputFormat::kTable;
  auto answer = BodyOf(GetOnce(url, table ? "/debug/cache?format=table" : "/debug/cache"));
  if (!answer) return tl::unexpected(answer.error());
  if (!answer->ends_with('\n')) answer->push_back('\n');
  return control::JsonAs(std::move(*answer), format);
}

}  // namespace

CLI::App* AddGetCommand(CLI::App& root, Action& action) {
  auto flags = std::make_shared<GetFlags>();
  CLI::App* command = root.add_subcommand("get", "services and endpoints that `sluice up` runs, or their KV caches");
  command
      ->add_option("WHAT", flags->what,
                   "services, or cache: what the gateway knows of each engine's KV cache, and how well")
      ->check(CLI::IsMember({"services", "cache"}))
      ->capture_default_str();
  command->add_option("--port", flags->port, "the gateway's port; not needed when one platform is running");
  command->add_option("--url", flags->url, "with cache: a gateway that `sluice up` did not start");
  command->add_option("-o,--output", flags->format, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  command->footer(
      "State is the supervisor's: starting, ready, not-ready, backing-off, stopping, stopped, failed; "
      "out-of-rotation:\n"
      "ready, but the gateway sends it nothing. KV-USE, RUNNING and WAITING are the gateway's; - means not known.\n"
      "cache: STATE is exact, or why what is listed may be wrong; HIT-RATE: cached of all prompt tokens, as the "
      "engine\n"
      "counted; PREDICTED: answers whose cached tokens were as predicted.\n"
      "Exit code: 0, or 1 when nothing is running.");
  action = [flags]() -> Result<int> {
    if (flags->what != "cache" && !flags->url.empty()) {
      return Fail(Code::kInvalidArgument, "--url goes with `sluice get cache` only", "--url");
    }
    const auto text =
        flags->what == "cache" ? CacheText(*flags) : control::GetText(flags->port, FormatOf(flags->format));
    if (!text) return tl::unexpected(text.error());
    std::fwrite(text->data(), 1, text->size(), stdout);
    return 0;
  };
  return command;
}

}  // namespace sluice::app

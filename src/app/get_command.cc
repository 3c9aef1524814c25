// sluice get: what is running on this machine.
#include <cstdio>
#include <memory>
#include <string>

#include "app/command.h"
#include "control/commands.h"

namespace sluice::app {
namespace {

struct GetFlags {
  uint16_t port = 0;
  std::string format = "table";
};

control::OutputFormat FormatOf(const std::string& name) {
  if (name == "json") return control::OutputFormat::kJson;
  return name == "yaml" ? control::OutputFormat::kYaml : control::OutputFormat::kTable;
}

}  // namespace

CLI::App* AddGetCommand(CLI::App& root, Action& action) {
  auto flags = std::make_shared<GetFlags>();
  CLI::App* command = root.add_subcommand("get", "services and endpoints that `sluice up` runs");
  command->add_option("--port", flags->port, "the gateway's port; not needed when one platform is running");
  command->add_option("-o,--output", flags->format, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  command->footer(
      "State is the supervisor's: starting, ready, not-ready, backing-off, stopping, stopped, failed; "
      "out-of-rotation:\n"
      "ready, but the gateway sends it nothing. KV-USE, RUNNING and WAITING are the gateway's; - means not known.\n"
      "Exit code: 0, or 1 when nothing is running.");
  action = [flags]() -> Result<int> {
    const auto text = control::GetText(flags->port, FormatOf(flags->format));
    if (!text) return tl::unexpected(text.error());
    std::fwrite(text->data(), 1, text->size(), stdout);
    return 0;
  };
  return command;
}

}  // namespace sluice::app

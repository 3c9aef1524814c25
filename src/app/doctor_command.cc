// `sluice doctor`: is this configuration right, and what does it come to?
#include <cstdio>
#include <memory>

#include "app/command.h"
#include "base/read_file.h"
#include "schedule/config.h"
#include "schedule/describe.h"

namespace sluice::app {
namespace {

struct Flags {
  std::string config_file;
  bool experimental = false;
  std::string output = "text";
};

Result<int> Run(const Flags& flags) {
  std::string text(schedule::DefaultConfigText());
  if (!flags.config_file.empty()) {
    auto read = ReadFile(flags.config_file, schedule::kConfigBytesMax);
    if (!read) return tl::unexpected(read.error());
    text = std::move(*read);
  }
  const auto config =
      schedule::LoadConfig(text, schedule::BuiltinRegistry(), {.allow_experimental_plugins = flags.experimental});
  const std::string name = flags.config_file.empty() ? "the built-in configuration" : flags.config_file;
  if (!config) return Fail(config.error().code, name + ": " + config.error().message);
  if (flags.output == "json") {
    std::printf("%s\n", schedule::PolicyJson(*config).c_str());
    return 0;
  }
  const size_t warnings = config->warnings.size();
  std::printf(
      "%s is valid%s\n\n%s", name.c_str(),
      warnings == 0 ? "" : (", with " + std::to_string(warnings) + " warning" + (warnings > 1 ? "s" : "")).c_str(),
      schedule::PolicyText(*config).c_str());
  return 0;
}

}  // namespace

CLI::App* AddDoctorCommand(CLI::App& root, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = root.add_subcommand("doctor", "checks an EndpointPickerConfig and prints the policy it comes to");
  command->add_option("--config-file", flags->config_file, "EndpointPickerConfig; without it: the built-in default");
  command->add_flag("--allow-experimental-plugins", flags->experimental, "accept Alpha plugins");
  command->add_option("-o,--output", flags->output, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  command->footer(
      "Exit code: 0 when the file is valid, 2 with every mistake (path, line, nearest name) when it is not.\n"
      "Examples:\n"
      "  sluice doctor                              the policy that runs without a configuration\n"
      "  sluice doctor --config-file epp.yaml\n"
      "  sluice doctor --config-file epp.yaml -o json");
  action = [flags] { return Run(*flags); };
  return command;
}

}  // namespace sluice::app

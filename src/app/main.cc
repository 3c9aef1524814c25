// main: the commands of the one binary. Parsing mistakes end with one line and exit code 2.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "app/command.h"
#include "base/text.h"
#include "observe/log.h"

namespace sluice::app {
namespace {

struct LogFlags {
  std::string level = "info";
  std::string format = "text";
  std::string levels;
};

LogFlags& TheLogFlags() {
  static LogFlags flags;
  return flags;
}

// "--max-model-len" and its like of one command, for "did you mean".
std::vector<std::string> FlagNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

int UsageError(const CLI::App& command, const std::string& message) {
  std::fprintf(stderr, "sluice: %s (see `%s --help`)\n", message.c_str(),
               command.get_parent() != nullptr ? ("sluice " + command.get_name()).c_str() : "sluice");
  return 2;
}

}  // namespace

void AddLogOptions(CLI::App& command) {
  LogFlags& flags = TheLogFlags();
  command.add_option("--log-level", flags.level, "trace, debug, info, warn, error or off")->capture_default_str();
  command.add_option("--log-levels", flags.levels, "levels for single modules, as gateway=debug,net=warn");
  command.add_option("--log-format", flags.format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

Status ApplyLogOptions() {
  const LogFlags& flags = TheLogFlags();
  const auto level = observe::ParseLevel(flags.level);
  if (!level) return tl::unexpected(level.error());
  return observe::Configure({.level = *level,
                             .format = flags.format == "json" ? observe::Format::kJson : observe::Format::kText,
                             .levels_by_module = flags.levels});
}

// Each stream takes two descriptors in a gateway; the usual soft limit of 1,024 would end at 500.
void RaiseFileLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int Main(int argc, char** argv) {
  RaiseFileLimit();
  CLI::App root("Sluice serves large language models: each request goes to the replica that answers it soonest.");
  root.name("sluice");
  root.set_version_flag("--version", "sluice " SLUICE_VERSION);
  root.require_subcommand(0, 1);
  root.footer(
      "Start here:\n"
      "  sluice up                 the whole platform on this machine, with a small model\n"
      "  sluice get                what is running\n"
      "  sluice explain ID         why a request went where it went\n"
      "  sluice doctor             is this configuration right, and what does it come to\n"
      "  sluice COMMAND --help     flags and examples of one command");

  constexpr AddCommand kCommands[] = {&AddUpCommand,      &AddDownCommand,    &AddGetCommand,    &AddExplainCommand,
                                      &AddGatewayCommand, &AddEppCommand,     &AddWorkerCommand, &AddDoctorCommand,
                                      &AddReplayCommand,  &AddPromoteCommand, &AddBenchCommand};
  std::vector<CLI::App*> commands;
  std::vector<Action> actions(std::size(kCommands));
  std::vector<std::string> names;
  for (size_t i = 0; i < std::size(kCommands); ++i) {
    commands.push_back(kCommands[i](root, actions[i]));
    commands.back()->allow_extras();
    names.push_back(commands.back()->get_name());
  }
  root.allow_extras();

  try {
    root.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", root.help().c_str());
    return 0;
  } catch (const CLI::CallForVersion&) {
    std::printf("sluice %s\n", SLUICE_VERSION);
    return 0;
  } catch (const CLI::ParseError& error) {
    const auto chosen = root.get_subcommands();
    return UsageError(chosen.empty() ? root : *chosen.front(), error.what());
  }

  for (size_t i = 0; i < commands.size(); ++i) {
    if (!commands[i]->parsed()) continue;
    const std::vector<std::string> extras = commands[i]->remaining();
    if (!extras.empty()) {
      const std::string& word = extras.front();
      const std::string name = word.substr(0, word.find('='));
      const bool flag = word.starts_with('-');
      return UsageError(*commands[i], (flag ? "unknown flag '" : "unexpected argument '") + name + "'" +
                                          (flag ? DidYouMean(name, FlagNames(*commands[i])) : std::string()));
    }
    const Result<int> code = actions[i]();
    if (code) return *code;
    std::fprintf(stderr, "sluice: %s\n", code.error().message.c_str());
    return Info(code.error().code).exit_code;
  }
  if (!root.remaining().empty()) {
    const std::string word = root.remaining().front();
    return UsageError(
        root, (word.starts_with('-') ? "unknown flag '" : "unknown command '") + word + "'" + DidYouMean(word, names));
  }
  std::printf("%s", root.help().c_str());
  return 0;
}

}  // namespace sluice::app

int main(int argc, char** argv) { return sluice::app::Main(argc, argv); }

// A command of the `sluice` program: one file each (<name>_command.cc), listed in main.cc.
// Thread rule: main's thread. CLI11 is seen by app/ only.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/result.h"

namespace sluice::app {

// Adds the command's flags to `root` and its action to be run when it was chosen. An action returns the exit code, or
// an error that main prints as one line ("sluice: …") and turns into its exit code.
using Action = std::function<Result<int>()>;
using AddCommand = CLI::App* (*)(CLI::App& root, Action& action);

CLI::App* AddWorkerCommand(CLI::App& root, Action& action);
CLI::App* AddGatewayCommand(CLI::App& root, Action& action);
CLI::App* AddEppCommand(CLI::App& root, Action& action);
CLI::App* AddUpCommand(CLI::App& root, Action& action);
CLI::App* AddDownCommand(CLI::App& root, Action& action);
CLI::App* AddGetCommand(CLI::App& root, Action& action);
CLI::App* AddExplainCommand(CLI::App& root, Action& action);
CLI::App* AddPromoteCommand(CLI::App& root, Action& action);
CLI::App* AddReplayCommand(CLI::App& root, Action& action);
CLI::App* AddDoctorCommand(CLI::App& root, Action& action);
CLI::App* AddBenchCommand(CLI::App& root, Action& action);

// Options that every long-running command has: --log-level, --log-format, --log-levels.
void AddLogOptions(CLI::App& command);
Status ApplyLogOptions();

}  // namespace sluice::app

// sluice down: stops a platform that `sluice up` started.
#include <cstdio>
#include <memory>

#include "app/command.h"
#include "control/commands.h"

namespace sluice::app {

CLI::App* AddDownCommand(CLI::App& root, Action& action) {
  auto port = std::make_shared<uint16_t>(0);
  CLI::App* command = root.add_subcommand("down", "stop what `sluice up` started");
  command->add_option("--port", *port, "the gateway's port; not needed when one platform is running");
  command->footer(
      "Requests under way are finished first; a second `sluice down` meanwhile does not wait for them.\n"
      "Exit code: 0 stopped, 1 nothing was running or it did not end.");
  action = [port]() -> Result<int> { return control::RunDown(*port, stdout); };
  return command;
}

}  // namespace sluice::app

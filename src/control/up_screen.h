// What `sluice up` tells a person. On a terminal the start is a block of lines that are rewritten; elsewhere, and after
// the start, one line a change. The texts are pure functions; UpScreen only decides when they are printed.
// Thread rule: one owner. Cost: a few lines.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "control/platform.h"
#include "control/supervisor.h"

namespace sluice::control {

// "smollm2-0  killed by signal 9 (SIGKILL); starting again in 0.5 s". Empty for changes that nobody needs to hear.
std::string ChangeText(const ProcessStatus& status);
// One line a process while the platform starts.
std::string ProgressText(const std::vector<ProcessStatus>& processes, double seconds);
// URL, an example to paste, where to look, how to stop. `program`: how this program is called on this machine.
std::string ReadyText(const std::vector<PlannedService>& services, const std::string& url, uint16_t port,
                      const std::string& logs, const std::string& program, bool detached);
// Why the platform could not start, with the end of the failed process's log.
std::string FailureText(const ProcessStatus& status);

// The shortest way to call `executable`: its bare name if PATH finds it, else its path, relative if it is below here.
std::string ProgramName(const std::string& executable);

class UpScreen {
 public:
  explicit UpScreen(std::FILE* out);

  void Line(std::string_view text);
  // While starting: `processes` changed, or time went by.
  void Progress(const std::vector<ProcessStatus>& processes, double seconds);
  // The block stays as it stands; from here on one line a change.
  void EndProgress();
  void Change(const ProcessStatus& status);
  // Output goes elsewhere from now on (a log): no rewriting.
  void LeaveTerminal() { terminal_ = false; }
  bool terminal() const { return terminal_; }

 private:
  std::FILE* out_;
  bool terminal_;
  size_t block_lines_ = 0;
  std::vector<std::string> shown_;  // last state told of each process, without a terminal
};

}  // namespace sluice::control

// Process: one child process: started without a shell, its output appended to a log file, its end noticed by the loop.
// The child leads its own process group (a Ctrl-C on the terminal does not reach it), inherits nothing but its log, and
// gets SIGTERM from the kernel when the thread that started it dies: a killed supervisor leaves nothing behind.
// Thread rule: the loop's thread, which must live as long as the child should. Ownership: destroying a Process kills
// the child's group and reaps it. Cost: a fork and an exec; Start() returns when exec has happened or failed.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "runtime/loop.h"

namespace sluice::control {

struct ProcessCommand {
  std::vector<std::string> argv;                         // argv[0]: path of the executable
  std::vector<std::pair<std::string, std::string>> env;  // set on top of this process's environment
  std::string log_file;                                  // stdout and stderr are appended to it
};

struct ExitStatus {
  bool signalled = false;
  int value = 0;  // exit code or signal number

  // "exit code 2" or "killed by signal 9 (SIGKILL)".
  std::string Text() const;
  bool operator==(const ExitStatus&) const = default;
};

class Process {
 public:
  // kNotFound or kInvalidArgument when the executable cannot be run or the log cannot be opened; kUnavailable when the
  // machine has no room for another process.
  static Result<Process> Start(runtime::Loop& loop, const ProcessCommand& command);

  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  // Ready when the child has ended; then Reap().
  runtime::Source& exited() { return pidfd_->readable; }
  // How the child ended; nothing while it runs. Once it has answered, the process is gone.
  std::optional<ExitStatus> Reap();

  // To the child's whole group. Nothing happens once it was reaped.
  void Terminate();
  void Kill();

 private:
  Process(runtime::Loop& loop, pid_t pid, int pidfd);
  void Signal(int number);

  pid_t pid_ = -1;  // -1: reaped
  runtime::DescriptorPtr pidfd_;
};

}  // namespace sluice::control

// Detach: `sluice up --detach` goes on in a child process while the parent waits to learn how the start ended.
//   auto fork = Detach::Fork();            // parent: child == nullopt, exit_code is the child's verdict
//   if (!fork->child) return fork->exit_code;
//   … start everything, print to the inherited terminal …
//   fork->child->Finish(log_file);         // the parent ends with 0; we are a daemon, our output goes to the log
// Until Finish() the child is in the terminal's foreground (Ctrl-C reaches it) and gets SIGTERM when the parent dies.
// Thread rule: before any thread starts. Ownership: the child owns the pipe; ending without Finish() tells the parent
// through Fail() or, at the latest, by the pipe's end.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace sluice::control {

class Detach {
 public:
  struct Forked;
  static Result<Forked> Fork();

  Detach(Detach&& other) noexcept;
  Detach& operator=(Detach&&) = delete;
  ~Detach();

  // Ready: lets the parent end with 0 and leaves its session; stdin is /dev/null, stdout and stderr append to `log`.
  Status Finish(const std::string& log);
  // Not ready: the parent ends with this code.
  void Fail(int exit_code);

 private:
  explicit Detach(int fd) : fd_(fd) {}
  void Tell(int exit_code);
  int fd_;
};

struct Detach::Forked {
  std::optional<Detach> child;  // in the child only
  int exit_code = 0;            // in the parent only
};

}  // namespace sluice::control

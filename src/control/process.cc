#include "control/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "base/check.h"

extern char** environ;

namespace sluice::control {
namespace {

// The environment of the child: ours, with `overrides` in place of variables of the same name.
std::vector<std::string> ChildEnvironment(const std::vector<std::pair<std::string, std::string>>& overrides) {
  std::vector<std::string> all;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text(*variable);
    const std::string_view name = text.substr(0, text.find('='));
    const bool overridden = std::ranges::any_of(overrides, [&](const auto& pair) { return pair.first == name; });
    if (!overridden) all.emplace_back(text);
  }
  for (const auto& [name, value] : overrides) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Between fork and exec only async-signal-safe calls: no allocation, no lock. Never returns.
[[noreturn]] void RunChild(pid_t parent, char* const* argv, char* const* env, int null_fd, int log_fd, int error_fd) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // dup2 leaves the copies open across exec; everything else closes there, what we were started with too.
  close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  const bool wired = dup2(null_fd, 0) >= 0 && dup2(log_fd, 1) >= 0 && dup2(log_fd, 2) >= 0;
  if (wired) execve(argv[0], argv, env);
  const int error = errno;
  [[maybe_unused]] const ssize_t n = write(error_fd, &error, sizeof error);
  _exit(127);
}

std::string SignalName(int number) {
  const char* name = sigabbrev_np(number);
  return name != nullptr ? " (SIG" + std::string(name) + ")" : std::string();
}

struct Fd {
  int fd = -1;
  ~Fd() {
    if (fd >= 0) close(fd);
  }
};

Error StartError(const std::string& executable, int error) {
  const Code code = error == ENOENT                                         ? Code::kNotFound
                    : error == EAGAIN || error == ENOMEM || error == ENFILE ? Code::kUnavailable
                                                                            : Code::kInvalidArgument;
  return Error{code, "cannot run " + executable + ": " + std::strerror(error), {}};
}

}  // namespace

std::string ExitStatus::Text() const {
  return signalled ? "killed by signal " + std::to_string(value) + SignalName(value)
                   : "exit code " + std::to_string(value);
}

Result<Process> Process::Start(runtime::Loop& loop, const ProcessCommand& command) {
  SLUICE_CHECK(!command.argv.empty(), "a command has at least its executable");
  std::vector<std::string> arguments = command.argv;
  std::vector<std::string> environment = ChildEnvironment(command.env);
  const std::vector<char*> argv = Pointers(arguments);
  const std::vector<char*> env = Pointers(environment);

  const Fd null{open("/dev/null", O_RDONLY | O_CLOEXEC)};
  const Fd log{open(command.log_file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)};
  if (null.fd < 0 || log.fd < 0) {
    return Fail(Code::kInvalidArgument, "cannot open the log file " + command.log_file + ": " + std::strerror(errno));
  }
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return tl::unexpected(StartError(arguments[0], errno));
  const Fd error_read{pipe_fds[0]};
  Fd error_write{pipe_fds[1]};

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return tl::unexpected(StartError(arguments[0], errno));
  if (pid == 0) RunChild(parent, argv.data(), env.data(), null.fd, log.fd, error_write.fd);
  setpgid(pid, pid);  // in both, so that a signal to the group is right whoever runs first

  close(error_write.fd);
  error_write.fd = -1;
  int error = 0;
  ssize_t n = 0;
  do {
    n = read(error_read.fd, &error, sizeof error);
  } while (n < 0 && errno == EINTR);
  if (n == sizeof error) {
    waitpid(pid, nullptr, 0);
    return tl::unexpected(StartError(arguments[0], error));
  }
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) {
    const int why = errno;
    kill(-pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return tl::unexpected(StartError(arguments[0], why));
  }
  return Process(loop, pid, pidfd);
}

Process::Process(runtime::Loop& loop, pid_t pid, int pidfd) : pid_(pid), pidfd_(loop, pidfd) {}

Process::Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    if (pid_ > 0) {
      Kill();
      waitpid(pid_, nullptr, 0);
    }
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
  }
  return *this;
}

Process::~Process() {
  if (pid_ < 0) return;
  Kill();
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::optional<ExitStatus> Process::Reap() {
  SLUICE_CHECK(pid_ > 0, "a process is reaped once");
  int status = 0;
  const pid_t done = waitpid(pid_, &status, WNOHANG);
  SLUICE_CHECK(done == 0 || done == pid_, "somebody else reaped our child");
  if (done == 0) return std::nullopt;
  pid_ = -1;
  if (WIFSIGNALED(status)) return ExitStatus{true, WTERMSIG(status)};
  return ExitStatus{false, WEXITSTATUS(status)};
}

void Process::Terminate() { Signal(SIGTERM); }
void Process::Kill() { Signal(SIGKILL); }

void Process::Signal(int number) {
  if (pid_ > 0) kill(-pid_, number);  // not reaped yet, so the number is still ours
}

}  // namespace sluice::control

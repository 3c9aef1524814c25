#include "control/detach.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

namespace sluice::control {
namespace {

// The parent's part: waits for the one byte that the child sends, and after a failed start for the child's end, with
// which its lock and ports are free: whoever sees the parent's exit code can start again at once.
int WaitForVerdict(int fd, pid_t child) {
  uint8_t code = 0;
  ssize_t n = 0;
  do {
    n = read(fd, &code, 1);
  } while (n < 0 && errno == EINTR);
  if (n == 1 && code == 0) return code;
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (n == 1) return code;
  std::fprintf(stderr, "sluice: the supervisor died while it was starting (wait status %d)\n", status);
  return 1;
}

}  // namespace

Result<Detach::Forked> Detach::Fork() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return sluice::Fail(Code::kUnavailable, std::string("pipe: ") + std::strerror(errno));
  std::fflush(stdout);
  std::fflush(stderr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) {
    const int error = errno;
    close(fds[0]);
    close(fds[1]);
    return sluice::Fail(Code::kUnavailable, std::string("cannot start the supervisor: ") + std::strerror(error));
  }
  if (child == 0) {
    close(fds[0]);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) raise(SIGTERM);
    return Forked{Detach(fds[1]), 0};
  }
  close(fds[1]);
  std::signal(SIGINT, SIG_IGN);  // the child has it too, and tells us how it ended
  const int code = WaitForVerdict(fds[0], child);
  close(fds[0]);
  return Forked{std::nullopt, code};
}

Detach::Detach(Detach&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Detach::~Detach() {
  if (fd_ >= 0) close(fd_);
}

Status Detach::Finish(const std::string& log) {
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out = open(log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (null < 0 || out < 0) {
    return sluice::Fail(Code::kInternal, "cannot open the log " + log + ": " + std::strerror(errno));
  }
  std::fflush(stdout);
  std::fflush(stderr);
  dup2(null, 0);
  dup2(out, 1);
  dup2(out, 2);
  close(null);
  close(out);
  prctl(PR_SET_PDEATHSIG, 0);
  setsid();
  Tell(0);
  return {};
}

void Detach::Fail(int exit_code) { Tell(exit_code); }

void Detach::Tell(int exit_code) {
  if (fd_ < 0) return;
  const auto code = static_cast<uint8_t>(exit_code);
  [[maybe_unused]] const ssize_t n = write(fd_, &code, 1);
  close(fd_);
  fd_ = -1;
}

}  // namespace sluice::control

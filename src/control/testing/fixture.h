// What several tests of control/ need: a folder that goes away, the stand-in program, a loop that stops by itself.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "runtime/loop.h"

namespace sluice::control {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-control-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(*this / name) << text;
    return *this / name;
  }

 private:
  std::string path_;
};

inline std::string ReadText(const std::string& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

// The stand-in for sluice is built beside the test program.
inline std::string ChildProgram() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  return (std::filesystem::path(std::string(path, static_cast<size_t>(n))).parent_path() / "control_child").string();
}

// Waits until a process that need not be our child has ended.
inline bool EndsWithinMs(pid_t pid, int milliseconds) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return true;
  pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
  const bool ended = poll(&wait, 1, milliseconds) == 1;
  close(fd);
  return ended;
}
inline bool EndsWithin(pid_t pid, int seconds) { return EndsWithinMs(pid, seconds * 1000); }

inline runtime::Task<> StopAfter(runtime::Loop* loop, runtime::Task<> task) {
  co_await std::move(task);
  loop->Stop();
}

inline runtime::Task<> GiveUpAfter(runtime::Loop* loop, Duration limit) {
  co_await runtime::SleepFor(*loop, limit);
  ADD_FAILURE() << "the test did not end in time";
  loop->Stop();
}

// Runs the loop until `task` has ended, at most a minute. Once a loop: it is stopped afterwards.
inline void RunTask(runtime::Loop& loop, runtime::Task<> task) {
  runtime::TaskScope scope(loop);
  scope.Spawn(StopAfter(&loop, std::move(task)));
  scope.Spawn(GiveUpAfter(&loop, std::chrono::minutes(1)));
  loop.Run();
}

}  // namespace sluice::control

#include "control/state_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/text.h"

namespace sluice::control {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

Status IoError(std::string_view what, const std::string& file) {
  return Fail(Code::kInternal, std::string(what) + " " + file + ": " + std::strerror(errno));
}

}  // namespace

Result<std::string> StateDir::Root() {
  std::string root = Variable("SLUICE_STATE_DIR");
  if (root.empty()) {
    const std::string state = Variable("XDG_STATE_HOME");
    const std::string home = Variable("HOME");
    if (state.empty() && home.empty()) {
      return Fail(Code::kInvalidArgument,
                  "no place to keep state: none of SLUICE_STATE_DIR, XDG_STATE_HOME and HOME is set");
    }
    root = (state.empty() ? home + "/.local/state" : state) + "/sluice";
  }
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(root, error);
  if (error) return Fail(Code::kInvalidArgument, "SLUICE_STATE_DIR '" + root + "': " + error.message());
  return absolute.lexically_normal().string();
}

Status StateDir::Create() const {
  const std::string logs = path_ + "/logs";
  std::error_code error;
  std::filesystem::create_directories(logs, error);
  if (error) {
    return Fail(Code::kInvalidArgument, "cannot make the state folder " + logs + ": " + error.message() +
                                            "; set SLUICE_STATE_DIR to a folder that can be written");
  }
  for (const std::string& folder : {path_, logs}) {
    if (chmod(folder.c_str(), 0700) != 0) return IoError("cannot set the mode of", folder);
  }
  return {};
}

std::string StateDir::LogFile(std::string_view process) const {
  return path_ + "/logs/" + std::string(process) + ".log";
}

std::vector<uint16_t> KnownPorts(const std::string& root) {
  std::vector<uint16_t> ports;
  std::error_code error;
  for (std::filesystem::directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    if (const auto port = ParseNumber<uint16_t>(at->path().filename().string())) ports.push_back(*port);
  }
  std::ranges::sort(ports);
  return ports;
}

Result<StateLock> StateLock::Take(const StateDir& dir) {
  const std::string file = dir.File("lock");
  const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return tl::unexpected(IoError("cannot open", file).error());
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    close(fd);
    return Fail(Code::kConflict, "a platform is already running on port " + std::to_string(dir.port()));
  }
  return StateLock(fd);
}

StateLock::StateLock(StateLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

StateLock::~StateLock() {
  if (fd_ >= 0) close(fd_);
}

bool StateLock::Held(const StateDir& dir) {
  const int fd = open(dir.File("lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(fd);
  return held;
}

Status WriteAtomically(const std::string& file, std::string_view text) {
  const std::string fresh = file + ".new";
  const int fd = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return IoError("cannot write", fresh);
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const Status failed = IoError("cannot write", fresh);
      close(fd);
      unlink(fresh.c_str());
      return failed;
    }
    text.remove_prefix(static_cast<size_t>(n));
  }
  close(fd);
  if (rename(fresh.c_str(), file.c_str()) != 0) return IoError("cannot replace", file);
  return {};
}

Result<std::string> ReadWhole(const std::string& file, size_t bytes_max) {
  // Not by way of /dev/stdin, which cannot be opened when standard input is a socket (as under Node.js).
  const bool standard_input = file == "-";
  const std::string name = standard_input ? "standard input" : file;
  const int fd = standard_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return Fail(errno == ENOENT ? Code::kNotFound : Code::kInvalidArgument,
                "cannot read " + name + ": " + std::strerror(errno));
  }
  std::string text;
  char buffer[16384];
  ssize_t n = 0;
  while ((n = read(fd, buffer, sizeof buffer)) != 0) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > bytes_max) break;
  }
  const int error = errno;
  close(fd);
  if (n < 0) return Fail(Code::kInvalidArgument, "cannot read " + name + ": " + std::strerror(error));
  if (text.size() > bytes_max) {
    return Fail(Code::kTooLarge, name + " is larger than " + std::to_string(bytes_max) + " bytes");
  }
  return text;
}

void RotateLog(const std::string& file) { rename(file.c_str(), (file + ".1").c_str()); }

void CapLog(const std::string& file, uint64_t bytes_max) {
  struct stat info{};
  if (stat(file.c_str(), &info) != 0 || static_cast<uint64_t>(info.st_size) <= bytes_max) return;
  const int from = open(file.c_str(), O_RDWR | O_CLOEXEC);
  const int to = open((file + ".1").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (from >= 0 && to >= 0) {
    // The end of it, when one look came so late that it is far beyond the limit.
    off_t at = std::max<off_t>(0, info.st_size - static_cast<off_t>(bytes_max));
    while (at < info.st_size && sendfile(to, from, &at, static_cast<size_t>(info.st_size - at)) > 0) {
    }
    [[maybe_unused]] const int cut = ftruncate(from, 0);
  }
  if (from >= 0) close(from);
  if (to >= 0) close(to);
}

}  // namespace sluice::control

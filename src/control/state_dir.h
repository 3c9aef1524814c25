// StateDir: where one platform (one gateway port of this user on this machine) keeps its state:
//   ${SLUICE_STATE_DIR:-${XDG_STATE_HOME:-~/.local/state}/sluice}/<port>/
//     lock          held (flock) by the supervisor as long as it lives: the kernel lets go of it, however it dies
//     status.json   platform_status.h; replaced atomically on each change
//     epp-<service>.yaml, endpoints-<service>.yaml   what the gateway reads
//     logs/<process>.log (.1: the one before)        also up.log of a detached supervisor
// Mode 0700: logs and prompts in them are the user's own.
// Thread rule: plain functions. Cost: file system calls.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::control {

class StateDir {
 public:
  // The folder above those of the ports. kInvalidArgument when no variable says where.
  static Result<std::string> Root();
  StateDir(const std::string& root, uint16_t port) : path_(root + "/" + std::to_string(port)), port_(port) {}

  Status Create() const;
  const std::string& path() const { return path_; }
  uint16_t port() const { return port_; }
  std::string LogFile(std::string_view process) const;
  std::string StatusFile() const { return path_ + "/status.json"; }
  std::string File(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
  uint16_t port_;
};

// Ports that have a state folder, ascending; whether something runs there is another question.
std::vector<uint16_t> KnownPorts(const std::string& root);

// The supervisor's lock. Forked processes share it until they exec.
class StateLock {
 public:
  // kConflict when another process holds it.
  static Result<StateLock> Take(const StateDir& dir);
  StateLock(StateLock&& other) noexcept;
  StateLock& operator=(StateLock&&) = delete;
  ~StateLock();

  // Whether somebody holds the lock now.
  static bool Held(const StateDir& dir);

 private:
  explicit StateLock(int fd) : fd_(fd) {}
  int fd_;
};

// Writes a new file of mode 0600 and puts it in the place of the old one in one step.
Status WriteAtomically(const std::string& file, std::string_view text);
// A whole file, or standard input for "-"; kTooLarge beyond `bytes_max`.
Result<std::string> ReadWhole(const std::string& file, size_t bytes_max);

// Logs are bounded: at start the log of the run before becomes .1; later, one that has grown beyond `bytes_max` is
// copied to .1 and cut to nothing (the child keeps appending to the same file; what it writes between copy and cut is
// lost). So a process has at most about twice `bytes_max` on disk, plus what it writes between two looks.
inline constexpr uint64_t kLogBytesMax = uint64_t{16} << 20;
void RotateLog(const std::string& file);
void CapLog(const std::string& file, uint64_t bytes_max);

}  // namespace sluice::control

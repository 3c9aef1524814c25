// WatchedFile: a file whose text is read when it changed. Looks at time, size and inode first, so that watching costs
// one system call a look; a file that was replaced (written beside and renamed, as editors and Kubernetes do) counts as
// changed. Thread rule: one owner.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace sluice::serving {

class WatchedFile {
 public:
  WatchedFile() = default;
  WatchedFile(std::string path, size_t bytes_max) : path_(std::move(path)), bytes_max_(bytes_max) {}

  const std::string& path() const { return path_; }
  bool watched() const { return !path_.empty(); }

  // The text when it is another one than at the last call (the first call always has it); nothing when it is the same.
  // A file that cannot be read is an error at every call until it can be.
  Result<std::optional<std::string>> Read();

 private:
  std::string path_;
  size_t bytes_max_ = 0;
  std::optional<std::string> text_;
  struct stat seen_{};
};

}  // namespace sluice::serving

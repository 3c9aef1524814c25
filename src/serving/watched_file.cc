#include "serving/watched_file.h"

#include "base/read_file.h"

namespace sluice::serving {

Result<std::optional<std::string>> WatchedFile::Read() {
  struct stat now{};
  const bool there = stat(path_.c_str(), &now) == 0;
  const bool same = there && text_ && now.st_ino == seen_.st_ino && now.st_size == seen_.st_size &&
                    now.st_mtim.tv_sec == seen_.st_mtim.tv_sec && now.st_mtim.tv_nsec == seen_.st_mtim.tv_nsec;
  if (same) return std::optional<std::string>();
  auto text = ReadFile(path_, bytes_max_);
  if (!text) return tl::unexpected(text.error());
  seen_ = now;
  if (text_ && *text_ == *text) return std::optional<std::string>();
  text_ = *text;
  return std::optional<std::string>(std::move(*text));
}

}  // namespace sluice::serving

#include "control/model_file.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "base/text.h"

namespace sluice::control {
namespace fs = std::filesystem;
namespace {

std::string Absolute(const fs::path& path) {
  std::error_code error;
  return fs::absolute(path, error).lexically_normal().string();
}

Result<std::string> ReadableFile(const std::string& path, std::string_view field) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    return Fail(Code::kInvalidArgument, std::string(field) + ": " + path + " is a folder; name one .gguf file",
                std::string(field));
  }
  if (access(path.c_str(), R_OK) == 0) return path;
  return Fail(Code::kInvalidArgument,
              std::string(field) + ": cannot read the model " + path + " (no such file, or not permitted)",
              std::string(field));
}

}  // namespace

std::vector<std::string> ModelFolders(const std::string& executable) {
  std::vector<std::string> folders;
  if (const char* path = std::getenv("SLUICE_MODEL_PATH"); path != nullptr) {
    for (const std::string_view folder : Split(path, ':')) {
      if (!folder.empty()) folders.push_back(Absolute(fs::path(folder)));
    }
  }
  folders.push_back(Absolute("models"));
  const fs::path beside = fs::path(executable).parent_path();
  folders.push_back(Absolute(beside / "../share/sluice/models"));
  folders.push_back(Absolute(beside / "../../models"));
  const char* cache = std::getenv("SLUICE_CACHE_DIR");
  const char* home = std::getenv("HOME");
  if (cache != nullptr && *cache != '\0') {
    folders.push_back(Absolute(fs::path(cache) / "models"));
  } else if (home != nullptr && *home != '\0') {
    folders.push_back(Absolute(fs::path(home) / ".cache/sluice/models"));
  }
  return folders;
}

Result<std::string> FindModelFile(std::string_view uri, std::string_view field,
                                  const std::vector<std::string>& folders) {
  const size_t scheme_end = uri.find("://");
  std::string_view path = uri;
  if (scheme_end != std::string_view::npos) {
    if (uri.substr(0, scheme_end) != "file") {
      return Fail(Code::kInvalidArgument,
                  std::string(field) + ": '" + std::string(uri) +
                      "' cannot be fetched on one machine by this version; download the .gguf file and use "
                      "file:///path/to/it",
                  std::string(field));
    }
    path.remove_prefix(scheme_end + 3);
  }
  if (path.empty()) return Fail(Code::kInvalidArgument, std::string(field) + " is empty", std::string(field));
  if (path.starts_with('/')) return ReadableFile(std::string(path), field);

  std::string places;
  for (const std::string& folder : folders) {
    const std::string candidate = Absolute(fs::path(folder) / path);
    std::error_code error;
    if (fs::exists(candidate, error)) return ReadableFile(candidate, field);
    places += "\n  " + candidate;
  }
  return Fail(Code::kInvalidArgument,
              std::string(field) + ": there is no model '" + std::string(uri) + "'; looked for" + places +
                  "\nput it there, set SLUICE_MODEL_PATH, or use file:///path/to/it",
              std::string(field));
}

}  // namespace sluice::control

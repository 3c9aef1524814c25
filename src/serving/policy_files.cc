#include "serving/policy_files.h"

#include <filesystem>

#include "observe/log.h"
#include "schedule/scheduler.h"

namespace sluice::serving {

using observe::Level;
using observe::Log;

namespace {

constexpr std::string_view kModule = "policy";
constexpr size_t kObjectsBytesMax = size_t{1} << 20;

}  // namespace

PolicyFiles::PolicyFiles(Options options) : options_(std::move(options)), registry_(schedule::BuiltinRegistry()) {
  const auto add = [this](std::string_view lane, const std::string& path, size_t bytes_max) {
    files_.push_back({std::string(lane), WatchedFile(path, bytes_max), {}});
  };
  add(schedule::Scheduler::kConfigured, options_.config_path, schedule::kConfigBytesMax);
  for (const auto& [name, path] : options_.shadows) add(name, path, schedule::kConfigBytesMax);
  add("", options_.objects_path, kObjectsBytesMax);
}

Result<schedule::LoadedConfig> PolicyFiles::Load(const std::string& path, std::string_view text) const {
  auto config = schedule::LoadConfig(text, registry_,
                                     {.allow_experimental_plugins = options_.allow_experimental_plugins,
                                      .folder = std::filesystem::path(path).parent_path().string()});
  if (!config) return Fail(config.error().code, (path.empty() ? "" : path + ": ") + config.error().message);
  for (const std::string& warning : config->warnings) {
    Log(Level::kWarn, kModule, "configuration", {{"pool", options_.pool}, {"file", path}, {"warning", warning}});
  }
  return config;
}

Result<pool::InferenceObjects> PolicyFiles::ParseObjects(const std::string& path, std::string_view text) const {
  std::vector<std::string> notices;
  auto objects = pool::InferenceObjects::Parse(text, path, options_.pool, &notices);
  for (const std::string& notice : notices) {
    Log(Level::kWarn, kModule, "objects", {{"pool", options_.pool}, {"file", path}, {"warning", notice}});
  }
  return objects;
}

Result<schedule::LoadedConfig> PolicyFiles::LoadConfig() {
  WatchedFile& file = files_.front().file;
  if (!file.watched()) return Load("", schedule::DefaultConfigText());
  auto text = file.Read();
  if (!text) return tl::unexpected(text.error());
  return Load(file.path(), **text);
}

Result<std::vector<PolicyFiles::Change>> PolicyFiles::LoadShadows() {
  std::vector<Change> out;
  for (Watched& watched : files_) {
    if (watched.lane.empty() || watched.lane == schedule::Scheduler::kConfigured) continue;
    auto text = watched.file.Read();
    if (!text) return tl::unexpected(text.error());
    auto config = Load(watched.file.path(), **text);
    if (!config) return tl::unexpected(config.error());
    out.push_back({watched.lane, watched.file.path(), std::move(*config)});
  }
  return out;
}

Result<pool::InferenceObjects> PolicyFiles::LoadObjects() {
  WatchedFile& file = files_.back().file;
  if (!file.watched()) return pool::InferenceObjects();
  auto text = file.Read();
  if (!text) return tl::unexpected(text.error());
  return ParseObjects(file.path(), **text);
}

Status PolicyFiles::LookAt(Watched& watched, const Handlers& handlers) const {
  auto text = watched.file.Read();
  if (!text) return tl::unexpected(text.error());
  if (!*text) return watched.problem.empty() ? Status{} : Status(Fail(Code::kInvalidArgument, watched.problem));
  if (watched.lane.empty()) {
    auto objects = ParseObjects(watched.file.path(), **text);
    if (!objects) return tl::unexpected(objects.error());
    handlers.objects(std::move(*objects));
    return {};
  }
  auto config = Load(watched.file.path(), **text);
  if (!config) return tl::unexpected(config.error());
  return handlers.apply({watched.lane, watched.file.path(), std::move(*config)});
}

void PolicyFiles::Look(const Handlers& handlers) {
  for (Watched& watched : files_) {
    if (!watched.file.watched()) continue;
    const Status looked = LookAt(watched, handlers);
    std::string problem = looked ? std::string() : looked.error().message;
    if (!problem.empty() && problem != watched.problem) handlers.refused(watched.file.path(), problem);
    watched.problem = std::move(problem);
  }
}

}  // namespace sluice::serving

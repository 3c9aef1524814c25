// PolicyFiles: the files that say how a pool decides (its EndpointPickerConfig, those of its shadow policies, its
// InferenceObjectives and InferenceModelRewrites), read at start and again when they change. A file that is wrong
// changes nothing, loudly: once in the log for each new mistake, and in the counter of refused reloads.
// Thread rule: the loop's thread. Cost: one system call a file a look.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pool/inference_objects.h"
#include "schedule/config.h"
#include "serving/watched_file.h"

namespace sluice::serving {

class PolicyFiles {
 public:
  struct Options {
    std::string pool;         // for logs, and for the objects' poolRef
    std::string config_path;  // empty: the built-in default
    std::string objects_path;
    std::vector<std::pair<std::string, std::string>> shadows;  // name, path
    bool allow_experimental_plugins = false;
  };
  struct Change {
    std::string lane;  // Scheduler's name of the policy
    std::string path;
    schedule::LoadedConfig config;
  };

  explicit PolicyFiles(Options options);

  // The pool's own configuration, at start.
  Result<schedule::LoadedConfig> LoadConfig();
  // The shadow policies and the objects, at start.
  Result<std::vector<Change>> LoadShadows();
  Result<pool::InferenceObjects> LoadObjects();

  // What changed since the last look. `apply` says whether the change could be carried out; `refused` hears of every
  // new mistake (path, message).
  struct Handlers {
    std::function<Status(Change)> apply;
    std::function<void(pool::InferenceObjects)> objects;
    std::function<void(const std::string& path, const std::string& error)> refused;
  };
  void Look(const Handlers& handlers);

 private:
  struct Watched {
    std::string lane;  // empty: the objects
    WatchedFile file;
    std::string problem;  // the latest, so that it is told once
  };
  Result<schedule::LoadedConfig> Load(const std::string& path, std::string_view text) const;
  Result<pool::InferenceObjects> ParseObjects(const std::string& path, std::string_view text) const;
  Status LookAt(Watched& watched, const Handlers& handlers) const;

  Options options_;
  schedule::Registry registry_;
  std::vector<Watched> files_;
};

}  // namespace sluice::serving

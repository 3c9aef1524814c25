// Manifest: upstream's LLMInferenceService (group serving.kserve.io, versions v1alpha2 and v1alpha1), read for one
// machine. Several documents in a file make several services. Strict: unknown fields, wrong types and impossible values
// are errors, all of them in one message with path and line; what upstream knows and a single machine cannot carry out
// becomes a notice. Pure. Cost: one YAML tree. Limits: the YAML reader's, and kServicesMax, kReplicasMax, and those of
// pod_template.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::control {

inline constexpr size_t kServicesMax = 64;
inline constexpr int64_t kReplicasMax = 256;
inline constexpr size_t kSchedulerConfigBytesMax = size_t{256} << 10;  // as written out, aliases filled in

struct EnvVar {
  std::string name;
  std::string value;
  bool operator==(const EnvVar&) const = default;
};

struct ServiceSpec {
  std::string name;
  std::string name_space;  // "default" when the manifest names none
  std::string model_uri;   // as written; FindModelFile() (model_file.h) finds the file
  std::string model_name;  // what requests name; metadata.name when the manifest has none
  int64_t replicas = 1;
  std::vector<std::string> worker_args;  // for `sluice worker`, in order: VLLM_ADDITIONAL_ARGS, then args
  std::vector<EnvVar> env;
  // The inline EndpointPickerConfig as YAML text; nothing: the gateway's default.
  std::optional<std::string> scheduler_config_yaml;
  // Each says path, what is not carried out, and the line.
  std::vector<std::string> notices;
};

// All services of `text`, in order; at least one. `what` (a file's name) begins the error message.
Result<std::vector<ServiceSpec>> ReadManifest(std::string_view text, std::string_view what);

// What `sluice up` runs without -f and `sluice up --print-manifest` prints: the packaged model, twice, with
// prefix-aware routing. Reads back without notices.
std::string_view DefaultManifest();

}  // namespace sluice::control

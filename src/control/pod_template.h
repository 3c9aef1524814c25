// The part of a Kubernetes PodSpec that one machine can carry out: arguments and environment of the container `main`.
// Thread rule: pure. Limits: kArgsMax arguments, kEnvMax variables, kArgBytesMax each, kTotalBytesMax together, so that
// exec() cannot fail on them.
#pragma once

#include "codec/yaml/reader.h"
#include "control/manifest.h"

namespace sluice::control {

inline constexpr size_t kArgsMax = 256;
inline constexpr size_t kEnvMax = 256;
inline constexpr size_t kArgBytesMax = size_t{32} << 10;
inline constexpr size_t kTotalBytesMax = size_t{256} << 10;

// The end of every notice.
inline constexpr std::string_view kNotHere = "is not carried out by `sluice up` on one machine";

// Fills service.worker_args and service.env; problems and notices go to the reader's list.
void ReadPodTemplate(codec::yaml::MapReader pod, codec::yaml::Problems& problems, ServiceSpec& service);

}  // namespace sluice::control

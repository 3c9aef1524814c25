// HealthService: grpc.health.v1.Health for the picker: Check and List. Watch is refused with UNIMPLEMENTED: a
// client then asks Check now and then, as it does with upstream's picker.
// Any name of a service is treated alike, so that a probe may ask for whatever it was set to.
// Thread rule: the loop's thread. Ownership: borrows what it asks.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "net/grpc_server.h"

namespace sluice::extproc {

inline constexpr std::string_view kExtProcService = "envoy.service.ext_proc.v3.ExternalProcessor";

// Adds the methods of the health service to `methods`. `serving` is asked at each call.
void AddHealthService(net::GrpcMethods& methods, const std::function<bool()>& serving);

}  // namespace sluice::extproc

// The files of deploy/envoy, compiled in (CMakeLists.txt makes the definitions): an installed program has no source
// tree beside it. Thread rule: constants.
#pragma once

#include <string_view>

namespace sluice::control {

extern const std::string_view kEnvoyFullYaml;
extern const std::string_view kEnvoyLeanYaml;

}  // namespace sluice::control

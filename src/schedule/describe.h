// What a loaded configuration comes to, defaults and automatically created plugins included: `sluice doctor`.
// Thread rule: pure.
#pragma once

#include <string>

#include "schedule/config.h"

namespace sluice::schedule {

// Text for people: profile handler, producers in the order they run, admission, each profile with filters, weights and
// picker, data sources, then what was created and the warnings. Parameters in parentheses are defaults.
std::string PolicyText(const LoadedConfig& config);
// The same for programs: {handler, screeners, producers, saturation_detector, admitters, profiles [{name, filters,
// scorers [{name, weight}], picker}], metrics, discovery, parsers, plugins [{name, type, stability, parameters}],
// created, warnings}.
std::string PolicyJson(const LoadedConfig& config);

}  // namespace sluice::schedule

// The policies of flow control, by name and parameters, so that files which configure them load and are checked. They
// take no part in decisions: this version does not queue requests, and the loader says so for each that is listed.
// Thread rule: immutable.
#pragma once

#include <span>
#include <string_view>

#include "schedule/plugin.h"

namespace sluice::schedule {

class FlowPolicy final : public Plugin {
 public:
  enum class Kind : uint8_t { kOrdering, kFairness, kUsageLimit, kEviction };

  // Every type.
  static std::span<const PluginInfo> Types();
  // "ordering policy", "fairness policy", …
  static std::string_view Name(Kind kind);
  // Of a type of Types(); nothing for another.
  static std::optional<Kind> KindOf(std::string_view type);

  FlowPolicy(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
};

}  // namespace sluice::schedule

// label-selector-filter: keeps endpoints whose labels match a Kubernetes LabelSelector (matchLabels, matchExpressions).
// State: the verdict of each endpoint, computed once for each change of the pool's members.
#pragma once

#include <map>
#include <string>

#include "schedule/plugin.h"
#include "schedule/plugins/filter/label_selector.h"

namespace sluice::schedule {

class LabelSelectorFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kInfo;
  static const PluginInfo kDeprecatedInfo;  // under its old name, by-label-selector
  LabelSelectorFilter(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

  bool Matches(const std::map<std::string, std::string>& labels) const { return selector_.Matches(labels); }

 private:
  LabelSelector selector_;
};

}  // namespace sluice::schedule

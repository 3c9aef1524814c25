// label-selector-filter: keeps endpoints whose labels match a Kubernetes LabelSelector (matchLabels, matchExpressions).
// State: the verdict of each endpoint, computed once for each change of the pool's members.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "schedule/plugin.h"

namespace sluice::schedule {

class LabelSelectorFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kInfo;
  static const PluginInfo kDeprecatedInfo;  // under its old name, by-label-selector
  LabelSelectorFilter(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

  bool Matches(const std::map<std::string, std::string>& labels) const;

 private:
  enum class Operator : uint8_t { kIn, kNotIn, kExists, kDoesNotExist };
  struct Expression {
    std::string key;
    Operator op;
    std::vector<std::string> values;
  };
  std::vector<Expression> expressions_;  // all must hold
};

}  // namespace sluice::schedule

// by-label: keeps endpoints whose label has one of the listed values. State: the verdict of each endpoint, computed
// once for each change of the pool's members.
#pragma once

#include <string>
#include <vector>

#include "schedule/plugin.h"

namespace sluice::schedule {

class ByLabelFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kInfo;
  ByLabelFilter(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

 private:
  std::string label_;
  std::vector<std::string> valid_values_;
  bool allows_no_label_;
};

}  // namespace sluice::schedule

// topology-affinity-filter: keeps endpoints near the one that an earlier profile chose (DecisionInput::peer).
// State: where each endpoint stands, worked out once for each change of the pool's members.
#pragma once

#include <string>

#include "schedule/plugin.h"
#include "schedule/plugins/topology.h"

namespace sluice::schedule {

class TopologyAffinityFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kInfo;
  TopologyAffinityFilter(const PluginInfo& info, std::string name, const Params& params,
                         codec::yaml::Problems& problems);
  void BindReferences(const PluginFinder& find, codec::yaml::Problems& problems) override;
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

 private:
  Nearness min_ = Nearness::kHost;
  std::string producer_;
  std::string path_;
  const TopologySource* source_ = nullptr;
};

}  // namespace sluice::schedule

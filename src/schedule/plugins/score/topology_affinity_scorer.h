// topology-affinity-scorer: prefers endpoints near the one that another profile picked (the decoder of a prefiller).
// State: where the endpoints stand, by row.
#pragma once

#include "schedule/plugin.h"
#include "schedule/plugins/topology.h"

namespace sluice::schedule {

class TopologyAffinityScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  TopologyAffinityScorer(const PluginInfo& info, std::string name, const Params& params);
  void BindReferences(const PluginFinder& find, codec::yaml::Problems& problems) override;
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  std::string source_name_;
  std::string path_;
  const TopologySource* source_ = nullptr;
};

}  // namespace sluice::schedule

// header-label-affinity-scorer: prefers endpoints whose label has the value of a request header.
// State: the label's values as small numbers, by row.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class HeaderLabelAffinityScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  HeaderLabelAffinityScorer(const PluginInfo& info, std::string name, const Params& params);
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  std::string header_;
  std::string label_;
};

}  // namespace sluice::schedule

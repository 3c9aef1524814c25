// load-aware-scorer: 0.5 for an empty queue, falling to 0 at `threshold` waiting requests.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class LoadAwareScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  LoadAwareScorer(const PluginInfo& info, std::string name, const Params& params);
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  float threshold_;
};

}  // namespace sluice::schedule

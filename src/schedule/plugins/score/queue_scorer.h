// queue-scorer: prefers endpoints with fewer waiting requests. Formula: lower_is_better.h.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class QueueScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;
};

}  // namespace sluice::schedule

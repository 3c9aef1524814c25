// lora-affinity-scorer: prefers endpoints that have the request's adapter loaded, or room for it.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class LoraAffinityScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;
};

}  // namespace sluice::schedule

// kv-cache-utilization-scorer: 1 - KV cache usage, as the endpoint last reported it.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class KvCacheUtilizationScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;
};

}  // namespace sluice::schedule

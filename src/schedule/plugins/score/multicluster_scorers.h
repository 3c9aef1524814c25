// The scorers of a gateway whose endpoints are the entry points of other clusters: the formulas of their namesakes over
// figures of the whole cluster, which an extractor supplies. multicluster-prefix-cache-scorer is prefix-cache-scorer
// (prefix_cache_scorer.h) under another name.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class MulticlusterKvCacheUtilizationScorer final : public Plugin, public Scorer {
 public:
  static constexpr std::string_view kAttribute = "llm-d.ai/multicluster-kv-cache-utilization";
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;
};

class MulticlusterQueueScorer final : public Plugin, public Scorer {
 public:
  static constexpr std::string_view kAttribute = "llm-d.ai/multicluster-queue-size";
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;
};

}  // namespace sluice::schedule

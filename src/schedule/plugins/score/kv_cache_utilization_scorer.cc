#include "schedule/plugins/score/kv_cache_utilization_scorer.h"

namespace sluice::schedule {

constinit const PluginInfo KvCacheUtilizationScorer::kInfo = {
    .type = "kv-cache-utilization-scorer",
    .help = "Prefers endpoints with a free KV cache: 1 - usage.",
    .make = MakePlain<KvCacheUtilizationScorer>};

void KvCacheUtilizationScorer::Score(const DecisionInput&, const Candidates& candidates, std::span<float> out) const {
  const std::span<const float> usage = candidates.kv_usage();
  for (size_t i = 0; i < out.size(); ++i) out[i] = 1 - usage[i];
}

}  // namespace sluice::schedule

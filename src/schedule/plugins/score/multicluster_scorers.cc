#include "schedule/plugins/score/multicluster_scorers.h"

#include <algorithm>

#include "schedule/plugins/score/scalar_attribute.h"

namespace sluice::schedule {
namespace {
constexpr float kNoScore = std::numeric_limits<float>::quiet_NaN();
}  // namespace

constinit const PluginInfo MulticlusterKvCacheUtilizationScorer::kInfo = {
    .type = "multicluster-kv-cache-utilization-scorer",
    .stability = Stability::kAlpha,
    .help = "1 - llm-d.ai/multicluster-kv-cache-utilization of the cluster behind the endpoint; none without it.",
    .make = MakePlain<MulticlusterKvCacheUtilizationScorer>};

constinit const PluginInfo MulticlusterQueueScorer::kInfo = {
    .type = "multicluster-queue-scorer",
    .stability = Stability::kAlpha,
    .help =
        "(max - q) / (max - min) of llm-d.ai/multicluster-queue-size of the clusters behind the endpoints; equal "
        "gives 1, none without it.",
    .make = MakePlain<MulticlusterQueueScorer>};

void MulticlusterKvCacheUtilizationScorer::Score(const DecisionInput& in, const Candidates& candidates,
                                                 std::span<float> out) const {
  const std::vector<float>* column = AttributeOfAnyone(in.pool, kAttribute);
  if (column == nullptr) {
    std::fill(out.begin(), out.end(), kNoScore);
    return;
  }
  const std::span<const float> usage = candidates.Gather(*column);
  for (size_t i = 0; i < out.size(); ++i) out[i] = 1 - usage[i];  // NaN stays NaN
}

void MulticlusterQueueScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const std::vector<float>* column = AttributeOfAnyone(in.pool, kAttribute);
  if (column == nullptr) {
    std::fill(out.begin(), out.end(), kNoScore);
    return;
  }
  const std::span<const float> queue = candidates.Gather(*column);
  const ValueRange range = RangeOf(queue);
  const float width = range.max - range.min;
  if (width > 0) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = (range.max - queue[i]) / width;
  } else {
    for (size_t i = 0; i < out.size(); ++i) out[i] = queue[i] == queue[i] ? 1 : kNoScore;
  }
}

}  // namespace sluice::schedule

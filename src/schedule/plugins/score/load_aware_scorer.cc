#include "schedule/plugins/score/load_aware_scorer.h"

#include <algorithm>

namespace sluice::schedule {
namespace {
constexpr ParamSpec kParams[] = {
    {.name = "threshold",
     .type = ParamType::kInt,
     .fallback = "128",
     .min = 1,
     .max = 1e9,
     .help = "waiting requests at which an endpoint scores 0"},
};
}  // namespace

constinit const PluginInfo LoadAwareScorer::kInfo = {
    .type = "load-aware-scorer",
    .help = "0.5 when nothing waits, otherwise 0.5 * (1 - min(waiting, threshold) / threshold).",
    .params = kParams,
    .make = MakeWithParams<LoadAwareScorer>};

LoadAwareScorer::LoadAwareScorer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), threshold_(static_cast<float>(params.Int("threshold"))) {}

void LoadAwareScorer::Score(const DecisionInput&, const Candidates& candidates, std::span<float> out) const {
  const std::span<const float> waiting = candidates.waiting();
  for (size_t i = 0; i < out.size(); ++i) out[i] = 0.5f * (1 - std::min(waiting[i], threshold_) / threshold_);
}

}  // namespace sluice::schedule

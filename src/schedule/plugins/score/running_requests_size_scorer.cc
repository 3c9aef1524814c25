#include "schedule/plugins/score/running_requests_size_scorer.h"

#include "schedule/plugins/score/lower_is_better.h"

namespace sluice::schedule {

constinit const PluginInfo RunningRequestsSizeScorer::kInfo = {
    .type = "running-requests-size-scorer",
    .help = "Prefers endpoints with fewer running requests: (max - r) / (max - min); all equal gives 1.",
    .make = MakePlain<RunningRequestsSizeScorer>};

void RunningRequestsSizeScorer::Score(const DecisionInput&, const Candidates& candidates, std::span<float> out) const {
  ScoreLowerIsBetter(candidates.running(), out);
}

}  // namespace sluice::schedule

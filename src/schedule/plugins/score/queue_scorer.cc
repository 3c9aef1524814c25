#include "schedule/plugins/score/queue_scorer.h"

#include "schedule/plugins/score/lower_is_better.h"

namespace sluice::schedule {

constinit const PluginInfo QueueScorer::kInfo = {
    .type = "queue-scorer",
    .help = "Prefers endpoints with fewer waiting requests: (max - q) / (max - min); all equal gives 1.",
    .make = MakePlain<QueueScorer>};

void QueueScorer::Score(const DecisionInput&, const Candidates& candidates, std::span<float> out) const {
  ScoreLowerIsBetter(candidates.waiting(), out);
}

}  // namespace sluice::schedule

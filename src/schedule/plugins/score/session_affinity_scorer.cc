#include "schedule/plugins/score/session_affinity_scorer.h"

#include <algorithm>

namespace sluice::schedule {

constinit const PluginInfo SessionAffinityScorer::kInfo = {
    .type = "session-affinity-scorer",
    .stability = Stability::kAlpha,
    .help = "1 for the endpoint that the session had before, else 0.",
    .params = kSessionAffinityParams,
    .make = MakeChecked<SessionAffinityScorer>};

void SessionAffinityScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  std::fill(out.begin(), out.end(), 0.0f);
  const size_t bound = affinity_.Find(in, candidates, in.StateOf<PluginState>(*this));
  if (bound != SessionAffinity::kNoCandidate) out[bound] = 1;
}

void SessionAffinityScorer::OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const {
  affinity_.OnDispatch(in, decision, *this, in.StateOf<PluginState>(*this), ticket);
}

void SessionAffinityScorer::OnResponseHead(const Ticket& ticket, const ResponseHead&, PluginState*,
                                           HeaderList& add) const {
  affinity_.OnResponseHead(ticket, *this, add);
}

}  // namespace sluice::schedule

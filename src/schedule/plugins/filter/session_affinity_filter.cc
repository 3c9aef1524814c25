#include "schedule/plugins/filter/session_affinity_filter.h"

#include <algorithm>

namespace sluice::schedule {

constinit const PluginInfo SessionAffinityFilter::kInfo = {
    .type = "session-affinity-filter",
    .stability = Stability::kAlpha,
    .help = "Keeps only the endpoint that the session had before; all when it is not among the candidates.",
    .params = kSessionAffinityParams,
    .make = MakeChecked<SessionAffinityFilter>};

constinit const PluginInfo SessionAffinityFilter::kMulticlusterInfo = {
    .type = "multicluster-session-affinity-filter",
    .stability = Stability::kAlpha,
    .help = "session-affinity-filter for a pool whose endpoints are the routers of clusters.",
    .params = kSessionAffinityParams,
    .make = MakeChecked<SessionAffinityFilter>};

void SessionAffinityFilter::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  const size_t bound = affinity_.Find(in, candidates, in.StateOf<PluginState>(*this));
  if (bound == SessionAffinity::kNoCandidate) return;
  std::fill(keep.begin(), keep.end(), 0);
  keep[bound] = 1;
}

void SessionAffinityFilter::OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const {
  affinity_.OnDispatch(in, decision, *this, in.StateOf<PluginState>(*this), ticket);
}

void SessionAffinityFilter::OnResponseHead(const Ticket& ticket, const ResponseHead&, PluginState*,
                                           HeaderList& add) const {
  affinity_.OnResponseHead(ticket, *this, add);
}

}  // namespace sluice::schedule

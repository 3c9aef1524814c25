// Decide chooses where a request runs, and the hooks tell the policy's state what became of it.
//
//   PolicyState state(policy);                       // one a shard
//   Decision decision;                               // reused
//   Decide(request, *pool.View(), state, clock, rng, decision);
//   if (!decision.ok()) -> answer decision.error
//   Ticket ticket = OnDispatch(request, *view, state, decision, clock);   // same view, before the next Decide
//   ... first body bytes:   OnFirstChunk(state, ticket);
//   ... end, or failure:    OnResponseEnd(state, std::move(ticket), {.failed = ...});
// After a failed connection: end the ticket with failed = true, add the endpoint to request.excluded, decide again.
//
// Deterministic: equal request, view, policy, state, time and rng state give an equal decision.
// Thread rule: the state's owner. Cost: O(endpoints x (scorers + filters)) float operations plus one index walk;
// nothing is allocated after warm-up in Decide; OnDispatch allocates one memo a remembering plugin.
#pragma once

#include "base/clock.h"
#include "base/rng.h"
#include "model/decision.h"
#include "model/pool_view.h"
#include "model/request.h"
#include "schedule/policy.h"

namespace sluice::schedule {

// Completes the request from its headers, as the policy's plugins say, before it is decided on; afterwards it has a
// fairness id.
void ReadHeaders(const Policy& policy, model::Request& request);

// Errors in the decision: kUnavailable when there is no candidate at all or screeners dropped all; kResourceExhausted
// when filters dropped all, an admitter refused, or a sheddable request met a saturated pool; kPreconditionFailed when
// the request wants a cached prefix (`prefer: if-available`) and the pick has none.
void Decide(const model::Request& request, const model::PoolView& pool, PolicyState& state, const Clock& clock,
            Rng& rng, model::Decision& decision);

model::Decision Decide(const model::Request& request, const model::PoolView& pool, PolicyState& state,
                       const Clock& clock, Rng& rng);

// Tells every plugin that the decision is carried out. `decision` must be the state's latest.
[[nodiscard]] Ticket OnDispatch(const model::Request& request, const model::PoolView& pool, PolicyState& state,
                                const model::Decision& decision, const Clock& clock);
// The answer's head came: what plugins set on it is appended to `headers`. At most once a ticket.
void OnResponseHead(PolicyState& state, const Ticket& ticket, const ResponseHead& head, HeaderList& headers);
// The first body bytes of the answer came. At most once a ticket.
void OnFirstChunk(PolicyState& state, Ticket& ticket);
// The answer ended, or there will be none. Returns what plugins report about it.
ReportedAttributes OnResponseEnd(PolicyState& state, Ticket&& ticket, const ResponseEnd& end);

}  // namespace sluice::schedule

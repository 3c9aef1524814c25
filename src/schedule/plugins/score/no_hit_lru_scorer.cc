#include "schedule/plugins/score/no_hit_lru_scorer.h"

#include <algorithm>
#include <utility>

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "lruSize",
     .type = ParamType::kInt,
     .fallback = "1024",
     .min = 1,
     .max = 1'000'000,
     .help = "endpoints that are remembered"},
    {.name = "prefixMatchInfoProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default approx-prefix-cache-producer"},
    {.name = "prefixPluginType",
     .type = ParamType::kString,
     .warn_when_set = "has no effect: use prefixMatchInfoProducerName"},
    {.name = "prefixPluginName",
     .type = ParamType::kString,
     .warn_when_set = "has no effect: use prefixMatchInfoProducerName"},
};

// Oldest first. Endpoints are few beside requests, so a vector is the quickest list.
struct LruState final : PluginState {
  static constexpr uint32_t kUnused = ~uint32_t{0};
  std::vector<model::EndpointId> order;
  std::vector<uint32_t> position;  // by row, scratch of one decision
  bool cold = false;               // what Score saw in the latest decision; OnDispatch uses it up
};

bool AnyHit(const PrefixMatch& match, std::span<const uint32_t> rows) {
  return std::any_of(rows.begin(), rows.end(), [&](uint32_t row) { return match.match_blocks[row] > 0; });
}

void MoveToNewest(LruState& state, model::EndpointId id, size_t limit) {
  std::erase(state.order, id);
  state.order.push_back(id);
  if (state.order.size() > limit) state.order.erase(state.order.begin());
}

}  // namespace

constinit const PluginInfo NoHitLruScorer::kInfo = {.type = "no-hit-lru-scorer",
                                                    .help =
                                                        "For a prompt that nobody holds: 1 for the endpoint that took "
                                                        "such a prompt longest ago (never counts as longest), "
                                                        "falling to 0; 0.5 for all when somebody holds a part.",
                                                    .params = kParams,
                                                    .make = MakeWithParams<NoHitLruScorer>};

NoHitLruScorer::NoHitLruScorer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      lru_size_(static_cast<size_t>(params.Int("lruSize"))),
      producer_(params.String("prefixMatchInfoProducerName")) {}

std::shared_ptr<PluginState> NoHitLruScorer::MakeState(const StateOptions&) const {
  return std::make_shared<LruState>();
}

void NoHitLruScorer::ForgetGone(const model::PoolMembers& members, PluginState& state) const {
  std::erase_if(static_cast<LruState&>(state).order,
                [&](model::EndpointId id) { return members.RowOf(id) == model::PoolMembers::kNoRow; });
}

void NoHitLruScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const auto* match = in.board.Get<PrefixMatch>(slot_);
  LruState& state = in.StateOf<LruState>(*this);
  state.cold = match == nullptr || !AnyHit(*match, candidates.rows());
  if (!state.cold) {
    std::fill(out.begin(), out.end(), 0.5f);
    return;
  }
  if (out.size() == 1) {
    out[0] = 1;
    return;
  }
  state.position.assign(in.pool.size(), LruState::kUnused);
  for (uint32_t i = 0; i < state.order.size(); ++i) {
    const uint32_t row = in.pool.members->RowOf(state.order[i]);
    if (row != model::PoolMembers::kNoRow) state.position[row] = i;
  }
  const float steps = static_cast<float>(out.size() - 1);
  uint32_t never_used = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (state.position[candidates.row(i)] != LruState::kUnused) continue;
    out[i] = 1 - static_cast<float>(never_used++) / steps;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    const uint32_t position = state.position[candidates.row(i)];
    if (position == LruState::kUnused) continue;
    out[i] = std::max(0.0f, 1 - static_cast<float>(never_used + position) / steps);
  }
}

void NoHitLruScorer::OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket&) const {
  LruState& state = in.StateOf<LruState>(*this);
  if (!std::exchange(state.cold, false)) return;
  for (size_t i = 0; i < decision.profiles.size(); ++i) {
    if (i == decision.primary || decision.profiles[i].profile == "prefill") {
      MoveToNewest(state, decision.profiles[i].targets.front().id, lru_size_);
    }
  }
}

}  // namespace sluice::schedule

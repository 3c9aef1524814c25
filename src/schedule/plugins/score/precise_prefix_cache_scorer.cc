#include "schedule/plugins/score/precise_prefix_cache_scorer.h"

#include <algorithm>

namespace sluice::schedule {

const PluginInfo PrecisePrefixCacheScorer::kInfo = {
    .type = "precise-prefix-cache-scorer",
    .help =
        "precise-prefix-cache-producer and prefix-cache-scorer in one: matched / total blocks. Scores the matches of "
        "an existing precise-prefix-cache-producer instead when there is one.",
    .params = PrecisePrefixCacheProducer::Parameters(),
    .make = MakeChecked<PrecisePrefixCacheScorer>,
    .deprecated = "precise-prefix-cache-producer with prefix-cache-scorer"};

std::vector<Need> PrecisePrefixCacheScorer::Needs() const {
  std::vector<Need> needs = PrecisePrefixCacheProducer::Needs();
  needs.push_back({DataKind::kPrefixMatch, std::string(PrecisePrefixCacheProducer::kInfo.type), /*required=*/false});
  needs.push_back({DataKind::kPrefixMatch, name()});
  return needs;
}

void PrecisePrefixCacheScorer::Bind(std::span<const int> slots) {
  PrecisePrefixCacheProducer::Bind(slots);
  producer_slot_ = slots[2];
  own_slot_ = slots[3];
}

std::shared_ptr<PluginState> PrecisePrefixCacheScorer::MakeState(const StateOptions& options) const {
  return Defers() ? nullptr : PrecisePrefixCacheProducer::MakeState(options);
}

Status PrecisePrefixCacheScorer::Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const {
  return Defers() ? Status{} : PrecisePrefixCacheProducer::Produce(in, candidates, out);
}

void PrecisePrefixCacheScorer::OnDispatch(const DecisionInput& in, const model::Decision& decision,
                                          Ticket& ticket) const {
  if (!Defers()) PrecisePrefixCacheProducer::OnDispatch(in, decision, ticket);
}

void PrecisePrefixCacheScorer::Score(const DecisionInput& in, const Candidates& candidates,
                                     std::span<float> out) const {
  const auto* match = in.board.Get<PrefixMatch>(Defers() ? producer_slot_ : own_slot_);
  if (match == nullptr || match->total_blocks == 0) {
    std::ranges::fill(out, 0.0f);
    return;
  }
  const std::span<const float> blocks = candidates.Gather(match->match_blocks);
  const auto total = static_cast<float>(match->total_blocks);
  for (size_t i = 0; i < out.size(); ++i) out[i] = blocks[i] / total;
}

}  // namespace sluice::schedule

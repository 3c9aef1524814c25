// no-hit-lru-scorer: spreads requests that hit nobody's cache over the endpoints, least recently so used first.
// State: for each endpoint when it last took such a request; at most lruSize endpoints, the oldest forgotten.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class NoHitLruScorer final : public Plugin, public Scorer, public Hooks {
 public:
  static const PluginInfo kInfo;
  NoHitLruScorer(const PluginInfo& info, std::string name, const Params& params);
  std::vector<Need> Needs() const override { return {{DataKind::kPrefixMatch, producer_}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void ForgetGone(const model::PoolMembers& members, PluginState& state) const override;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;

 private:
  size_t lru_size_;
  std::string producer_;
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

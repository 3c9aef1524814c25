// token-load-scorer: prefers endpoints with fewer prompt tokens in flight, those that this request would add included.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class TokenLoadScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  TokenLoadScorer(const PluginInfo& info, std::string name, const Params& params);
  std::vector<Need> Needs() const override { return {{DataKind::kInflightLoad, producer_}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  float threshold_;
  std::string producer_;
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

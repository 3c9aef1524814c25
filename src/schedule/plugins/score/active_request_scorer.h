// active-request-scorer: prefers endpoints with fewer requests that this router sent and that are not answered.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class ActiveRequestScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  ActiveRequestScorer(const PluginInfo& info, std::string name, const Params& params);
  std::vector<Need> Needs() const override { return {{DataKind::kInflightLoad, producer_}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  float idle_threshold_;
  float max_busy_score_;
  std::string producer_;
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

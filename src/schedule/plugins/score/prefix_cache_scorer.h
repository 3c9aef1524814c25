// prefix-cache-scorer: prefers endpoints that hold more of the prompt.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class PrefixCacheScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  static const PluginInfo kMulticlusterInfo;  // the same over endpoints that are clusters
  PrefixCacheScorer(const PluginInfo& info, std::string name, const Params& params);
  std::vector<Need> Needs() const override { return {{DataKind::kPrefixMatch, producer_}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  std::string producer_;
  float length_weight_;
  float length_scale_;
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

// prefix-based-pd-decider: a prefill stage of its own when the decode endpoint lacks enough of the prompt.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class PrefixBasedPdDecider final : public Plugin, public Decider {
 public:
  static const PluginInfo kInfo;
  PrefixBasedPdDecider(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  std::vector<Need> Needs() const override { return {{DataKind::kTokenizedPrompt, ""}, {DataKind::kPrefixMatch, ""}}; }
  void Bind(std::span<const int> slots) override;
  bool Disaggregate(const DecisionInput& in, const model::Target* endpoint) const override;

 private:
  double uncached_min_;
  double prompt_min_;
  int tokens_slot_ = Board::kNoSlot;
  int match_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

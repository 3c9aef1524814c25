// slo-headroom-tier-filter: keeps the endpoints that are expected to meet the request's latency limits.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class SloHeadroomTierFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kInfo;
  SloHeadroomTierFilter(const PluginInfo& info, std::string name, const Params& params)
      : Plugin(info, std::move(name)), explore_(params.Number("epsilonExploreNeg")) {}
  std::vector<Need> Needs() const override { return {{DataKind::kLatencyPrediction, ""}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

 private:
  double explore_;
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

// latency-slo-admitter: refuses sheddable requests that no endpoint is expected to answer within their limits.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class LatencySloAdmitter final : public Plugin, public Admitter {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  std::vector<Need> Needs() const override { return {{DataKind::kLatencyPrediction, ""}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  Status Admit(const DecisionInput& in, const Candidates& candidates) const override;

 private:
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

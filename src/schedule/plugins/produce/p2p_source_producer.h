// p2p-source-producer: names an endpoint that holds much of the prompt, for the one that computes to pull it from, in
// the header x-kv-cache-source-host-port.
// State: the source of the latest decision.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class P2pSourceProducer final : public Plugin, public Producer, public Hooks {
 public:
  static const PluginInfo kInfo;
  P2pSourceProducer(const PluginInfo& info, std::string name, const Params& params);
  std::vector<Need> Needs() const override { return {{DataKind::kPrefixMatch, prefix_producer_}}; }
  void Bind(std::span<const int> slots) override { prefix_slot_ = slots[0]; }
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  DataKind Provides() const override { return DataKind::kNothing; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<Nothing>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;

 private:
  std::string prefix_producer_;
  double delta_min_;  // tokens
  std::string prefill_profile_;
  int prefix_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

// inflight-load-producer: requests and uncached prompt tokens that were sent to each endpoint and are not done.
// State: two counters an endpoint; each request's charge is remembered in its ticket.
#pragma once

#include <optional>

#include "schedule/plugin.h"

namespace sluice::schedule {

class InflightLoadProducer final : public Plugin, public Producer, public Hooks {
 public:
  struct Load {
    uint32_t generation = 0;
    uint32_t requests = 0;
    uint64_t tokens = 0;
  };
  static const PluginInfo kInfo;
  InflightLoadProducer(const PluginInfo& info, std::string name, const Params& params);

  std::vector<Need> Needs() const override;
  void Bind(std::span<const int> slots) override;
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;

  DataKind Provides() const override { return DataKind::kInflightLoad; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<InflightLoad>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;

  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;
  void OnFirstChunk(const Ticket& ticket, PluginState* state) const override;
  void OnEnd(const Ticket& ticket, const ResponseEnd& end, PluginState* state,
             ReportedAttributes& attributes) const override;

  // The endpoint's present load: for metrics.
  static Load LoadOf(const PluginState& state, model::EndpointId endpoint);

 private:
  uint64_t UncachedTokens(const DecisionInput& in, uint32_t row) const;
  uint64_t EstimatedOutput(const DecisionInput& in) const;

  bool add_output_;
  double output_ratio_;
  std::optional<uint64_t> output_max_;
  std::string prefix_producer_;
  int tokens_slot_ = Board::kNoSlot;
  int prefix_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

// predicted-latency-producer: what the pool's latency model expects of each endpoint, and how that stands to what the
// request asked for in the headers x-llm-d-slo-ttft-ms and x-llm-d-slo-tpot-ms (or x-slo-...), in milliseconds.
// The model and what it knows of requests on their way are the LatencyTracker's (latency_tracker.h), which also learns.
// State: for each endpoint how many requests of this policy run there, and which token times they asked for.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class PredictedLatencyProducer final : public Plugin, public Producer, public Hooks {
 public:
  static const PluginInfo kInfo;
  PredictedLatencyProducer(const PluginInfo& info, std::string name, const Params& params,
                           codec::yaml::Problems& problems);

  std::vector<Need> Needs() const override;
  void Bind(std::span<const int> slots) override;
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;

  DataKind Provides() const override { return DataKind::kLatencyPrediction; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<LatencyPrediction>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;

  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;
  void OnEnd(const Ticket& ticket, const ResponseEnd& end, PluginState* state,
             ReportedAttributes& attributes) const override;

  // What a request asks for; 0: nothing.
  struct Limits {
    double ttft_ms = 0;
    double tpot_ms = 0;
    static Limits Of(const model::Request& request);
  };

 private:
  struct State;
  void Predict(const DecisionInput& in, State& state, LatencyPrediction& out) const;
  void FillHeadrooms(const DecisionInput& in, State& state, const Limits& limits, LatencyPrediction& out) const;

  double buffer_factor_;
  bool streaming_;  // predictions of token times count
  bool predict_;
  bool encoder_features_;
  std::string role_label_;
  std::string prefix_producer_;
  std::string encoder_producer_;
  int tokens_slot_ = Board::kNoSlot;
  int prefix_slot_ = Board::kNoSlot;
  int encoder_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

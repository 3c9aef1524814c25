// latency-scorer: prefers endpoints by how their predicted latency stands to what the request asked for. Best behind
// filters that narrow the candidates (prefix-cache-affinity-filter, slo-headroom-tier-filter).
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class LatencyScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  LatencyScorer(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  std::vector<Need> Needs() const override {
    return {{DataKind::kLatencyPrediction, latency_producer_}, {DataKind::kPrefixMatch, prefix_producer_}};
  }
  void Bind(std::span<const int> slots) override;
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  // Which endpoints are compared: the best class that is not empty, from first to last. kNone: no prediction.
  enum class Class : uint8_t { kFits, kIdle, kSlowTokens, kSlowFirst, kSlowBoth, kNone };
  static Class ClassOf(const LatencyPrediction& prediction, uint32_t row);
  struct Classes;
  void ScoreClass(const LatencyPrediction& prediction, const Candidates& candidates, std::span<const Class> classes,
                  Class chosen, std::span<float> out) const;
  void ScoreComposite(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const;

  double ttft_weight_, tpot_weight_;
  bool most_;  // headroomSelectionStrategy
  double kv_weight_, queue_weight_, prefix_weight_;
  std::string latency_producer_, prefix_producer_;
  int latency_slot_ = Board::kNoSlot;
  int prefix_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

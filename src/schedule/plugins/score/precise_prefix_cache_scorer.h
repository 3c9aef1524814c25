// precise-prefix-cache-scorer, deprecated: precise-prefix-cache-producer and prefix-cache-scorer in one plugin. When
// the configuration has a precise-prefix-cache-producer, its matches are scored and this one looks nothing up.
#pragma once

#include "schedule/plugins/produce/precise_prefix_cache_producer.h"

namespace sluice::schedule {

class PrecisePrefixCacheScorer final : public PrecisePrefixCacheProducer, public Scorer {
 public:
  static const PluginInfo kInfo;
  using PrecisePrefixCacheProducer::PrecisePrefixCacheProducer;

  std::vector<Need> Needs() const override;
  void Bind(std::span<const int> slots) override;
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;
  bool FromOutside() const override { return !Defers(); }
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  bool Defers() const { return producer_slot_ != Board::kNoSlot; }
  int producer_slot_ = Board::kNoSlot;
  int own_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

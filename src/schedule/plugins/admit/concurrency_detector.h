// concurrency-detector: how full the candidates are by what was sent and is not answered; as a filter, drops the full.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class ConcurrencyDetector final : public Plugin, public SaturationDetector, public Filter {
 public:
  static const PluginInfo kInfo;
  ConcurrencyDetector(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  std::vector<Need> Needs() const override { return {{DataKind::kInflightLoad, producer_}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  double Saturation(const DecisionInput& in, const Candidates& candidates) const override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

 private:
  enum class Mode : uint8_t { kRequests, kTokens, kHybrid };
  // Of one endpoint's capacity; 1 is full.
  double LoadOf(const InflightLoad& load, uint32_t row) const;

  Mode mode_ = Mode::kRequests;
  double requests_max_;
  double tokens_max_;
  double headroom_;
  std::string producer_;
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

// prefix-cache-affinity-filter: keeps the endpoints that hold most of the prompt, unless they would answer much later
// than the others.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class PrefixCacheAffinityFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kInfo;
  PrefixCacheAffinityFilter(const PluginInfo& info, std::string name, const Params& params,
                            codec::yaml::Problems& problems);
  std::vector<Need> Needs() const override;
  void Bind(std::span<const int> slots) override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

 private:
  bool WorthWaiting(const DecisionInput& in, const Candidates& candidates, std::span<const uint8_t> sticky) const;
  float TtftMs(const DecisionInput& in, uint32_t row) const;

  double threshold_;
  double exploration_;
  double penalty_ms_;
  double tokens_per_ms_;
  bool predicted_;
  std::string producer_;
  int match_slot_ = Board::kNoSlot;
  int ttft_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

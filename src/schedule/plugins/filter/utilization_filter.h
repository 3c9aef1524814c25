// utilization-filter: drops endpoints that are above a limit of one of several load figures.
#pragma once

#include <string>
#include <vector>

#include "schedule/plugin.h"

namespace sluice::schedule {

class UtilizationFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kInfo;
  UtilizationFilter(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  std::vector<Need> Needs() const override;
  void Bind(std::span<const int> slots) override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

 private:
  enum class Metric : uint8_t { kActive, kRunning, kWaiting, kKvCache };
  struct Condition {
    Metric metric;
    float max;
  };
  std::vector<Condition> conditions_;
  bool fallback_on_empty_;
  std::string producer_;
  int load_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

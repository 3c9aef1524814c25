// utilization-detector: how full the candidates are by their scraped queue and KV cache; as a filter, drops the full.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class UtilizationDetector final : public Plugin, public SaturationDetector, public Filter {
 public:
  static const PluginInfo kInfo;
  UtilizationDetector(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  double Saturation(const DecisionInput& in, const Candidates& candidates) const override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

 private:
  bool Fresh(const DecisionInput& in, uint32_t row) const;

  double queue_max_;
  double kv_max_;
  Duration stale_after_;
  double headroom_;
};

}  // namespace sluice::schedule

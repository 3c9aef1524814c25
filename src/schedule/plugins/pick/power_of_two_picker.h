// power-of-two-picker: two random candidates, the higher total wins (Mitzenmacher 2001). Several routers that see the
// same stale totals do not all run to the same endpoint, as they would with max-score-picker.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class PowerOfTwoPicker final : public Plugin, public Picker {
 public:
  static const PluginInfo kInfo;
  PowerOfTwoPicker(const PluginInfo& info, std::string name, const Params& params);
  void Pick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
            std::vector<uint32_t>& picked, std::vector<double>& scratch) const override;

 private:
  size_t count_;
};

}  // namespace sluice::schedule

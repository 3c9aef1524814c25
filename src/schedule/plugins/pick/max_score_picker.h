// max-score-picker: the highest totals; ties are broken uniformly at random.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class MaxScorePicker final : public Plugin, public Picker {
 public:
  static const PluginInfo kInfo;
  MaxScorePicker(const PluginInfo& info, std::string name, const Params& params);
  void Pick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
            std::vector<uint32_t>& picked, std::vector<double>& scratch) const override;

 private:
  size_t count_;
};

}  // namespace sluice::schedule

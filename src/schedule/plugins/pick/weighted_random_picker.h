// weighted-random-picker: at random, in proportion to the totals (A-Res sampling, Efraimidis and Spirakis 2006).
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class WeightedRandomPicker final : public Plugin, public Picker {
 public:
  static const PluginInfo kInfo;
  WeightedRandomPicker(const PluginInfo& info, std::string name, const Params& params);
  void Pick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
            std::vector<uint32_t>& picked, std::vector<double>& scratch) const override;

 private:
  size_t count_;
};

}  // namespace sluice::schedule

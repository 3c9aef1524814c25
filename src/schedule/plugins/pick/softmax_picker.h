// softmax-picker: at random with probability exp(total / temperature) / sum. Between random-picker (hot) and
// max-score-picker (temperature 0).
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class SoftmaxPicker final : public Plugin, public Picker {
 public:
  static const PluginInfo kInfo;
  SoftmaxPicker(const PluginInfo& info, std::string name, const Params& params);
  void Pick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
            std::vector<uint32_t>& picked, std::vector<double>& scratch) const override;

 private:
  size_t count_;
  double temperature_;
};

}  // namespace sluice::schedule

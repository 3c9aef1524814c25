// weighted-round-robin-picker: each endpoint its share, in a smooth order, whatever the totals. The weight is what the
// endpoint was measured to deliver: prompt and output tokens for each second in which it had requests of ours, the
// older half of them forgotten every `halfLife` of such seconds. So unlike accelerators take traffic by what they do.
// Order: nginx's smooth weighted round robin (every candidate gains its weight, the richest is picked and pays the
// sum). What is measured is what was asked for as long as an endpoint keeps up; it becomes capacity where it is the
// limit. An endpoint that was not measured yet has the mean weight, and none falls below minShare of it, so that all
// stay measured. State: one small record an endpoint.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class WeightedRoundRobinPicker final : public Plugin, public Picker, public Hooks {
 public:
  static const PluginInfo kInfo;
  WeightedRoundRobinPicker(const PluginInfo& info, std::string name, const Params& params);
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void ForgetGone(const model::PoolMembers& members, PluginState& state) const override;
  void Pick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
            std::vector<uint32_t>& picked, std::vector<double>& scratch) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;
  void OnEnd(const Ticket& ticket, const ResponseEnd& end, PluginState* state,
             ReportedAttributes& attributes) const override;

  // Measured tokens a busy second; below 0: not measured.
  static double MeasuredRate(const PluginState& state, model::EndpointId endpoint);
  // Records that are kept: at most one an endpoint of the pool.
  static size_t Entries(const PluginState& state);

 private:
  size_t count_;
  std::string label_;
  double half_life_s_;
  double share_min_;
};

}  // namespace sluice::schedule

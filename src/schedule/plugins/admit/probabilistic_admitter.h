// probabilistic-admitter: refuses sheddable requests the more often, the fuller the candidates are.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class ProbabilisticAdmitter final : public Plugin, public Admitter {
 public:
  static const PluginInfo kInfo;
  ProbabilisticAdmitter(const PluginInfo& info, std::string name, const Params& params);
  Status Admit(const DecisionInput& in, const Candidates& candidates) const override;

 private:
  double queue_max_;
  double kv_max_;
  double power_;
  double factor_;
};

}  // namespace sluice::schedule

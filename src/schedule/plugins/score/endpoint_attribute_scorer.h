// endpoint-attribute-scorer: prefers endpoints by one number that an extractor found, scaled to 0..1.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class EndpointAttributeScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  EndpointAttributeScorer(const PluginInfo& info, std::string name, const Params& params,
                          codec::yaml::Problems& problems);
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  void ReadAlgorithm(const Params& params, codec::yaml::Problems& problems);

  std::string key_;
  bool lower_is_better_ = true;
  bool fixed_ = false;  // between min_ and max_; otherwise over the candidates
  double min_ = 0, max_ = 1;
};

}  // namespace sluice::schedule

// endpoint-attribute-filter: compares one scalar attribute of each endpoint with a number.
#pragma once

#include <string>

#include "schedule/plugin.h"

namespace sluice::schedule {

class EndpointAttributeFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kInfo;
  EndpointAttributeFilter(const PluginInfo& info, std::string name, const Params& params,
                          codec::yaml::Problems& problems);
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

 private:
  enum class Operator : uint8_t { kLess, kLessOrEqual, kGreater, kGreaterOrEqual, kEqual, kNotEqual };
  void ReadAlgorithm(const Params& params, codec::yaml::Problems& problems);
  bool Passes(float value) const;

  std::string key_;
  bool keep_missing_ = true;
  bool fallback_on_empty_;
  Operator operator_ = Operator::kLess;
  float value_ = 0;
};

}  // namespace sluice::schedule

// header-based-testing-filter: a request header names the endpoints; for conformance tests of gateways.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class HeaderBasedTestingFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;
};

}  // namespace sluice::schedule

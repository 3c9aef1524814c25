// single-profile-handler: one profile, run once.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class SingleProfileHandler final : public Plugin, public ProfileHandler {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  Status CheckProfiles(std::span<const std::string> names) const override;
  void Next(const DecisionInput& in, std::span<const ProfileOutcome> outcomes,
            std::vector<uint32_t>& next) const override;
  Result<uint32_t> Primary(const DecisionInput& in, std::span<const ProfileOutcome> outcomes) const override;
};

}  // namespace sluice::schedule

// single-profile-handler: one profile, run once.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class SingleProfileHandler final : public Plugin, public ProfileHandler {
 public:
  static const PluginInfo kInfo;
  using Plugin::Plugin;
  Status BindProfiles(std::span<const std::string> names) override;
  void Next(const DecisionInput& in, const ProfileResults& results, std::vector<ProfileRun>& next) const override;
  Result<uint32_t> Primary(const DecisionInput& in, const ProfileResults& results) const override;
};

}  // namespace sluice::schedule

// header-profile-handler: a request header names the profile, for a coordinator that asks once a phase.
#pragma once

#include <string>
#include <vector>

#include "schedule/plugin.h"

namespace sluice::schedule {

class HeaderProfileHandler final : public Plugin, public ProfileHandler {
 public:
  static const PluginInfo kInfo;
  HeaderProfileHandler(const PluginInfo& info, std::string name, const Params& params);
  Status BindProfiles(std::span<const std::string> names) override;
  void Next(const DecisionInput& in, const ProfileResults& results, std::vector<ProfileRun>& next) const override;
  Result<uint32_t> Primary(const DecisionInput& in, const ProfileResults& results) const override;

 private:
  static constexpr uint32_t kUnknown = ~uint32_t{0};
  uint32_t Wanted(const model::Request& request) const;

  std::string header_;
  std::string default_profile_;
  std::vector<std::string> profiles_;
};

}  // namespace sluice::schedule

// pd-profile-handler: the old handler of prefill/decode disaggregation.
#pragma once

#include "schedule/plugin.h"
#include "schedule/plugins/profile/stages.h"

namespace sluice::schedule {

class PdProfileHandler final : public Plugin, public ProfileHandler, public Hooks {
 public:
  static const PluginInfo kInfo;
  PdProfileHandler(const PluginInfo& info, std::string name, const Params& params);
  Status BindProfiles(std::span<const std::string> names) override { return stages_.BindProfiles(names); }
  void BindReferences(const PluginFinder& find, codec::yaml::Problems& problems) override;
  void Next(const DecisionInput& in, const ProfileResults& results, std::vector<ProfileRun>& next) const override;
  Result<uint32_t> Primary(const DecisionInput& in, const ProfileResults& results) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;

 private:
  Stages stages_;
  uint16_t primary_port_;
  std::string path_;
};

}  // namespace sluice::schedule

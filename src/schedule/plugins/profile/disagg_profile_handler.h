// disagg-profile-handler: decode, and prefill and encode on endpoints of their own when their deciders say so.
#pragma once

#include "schedule/plugin.h"
#include "schedule/plugins/profile/stages.h"

namespace sluice::schedule {

class DisaggProfileHandler final : public Plugin, public ProfileHandler, public Hooks {
 public:
  static const PluginInfo kInfo;
  DisaggProfileHandler(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  Status BindProfiles(std::span<const std::string> names) override { return stages_.BindProfiles(names); }
  void BindReferences(const PluginFinder& find, codec::yaml::Problems& problems) override;
  void Next(const DecisionInput& in, const ProfileResults& results, std::vector<ProfileRun>& next) const override;
  Result<uint32_t> Primary(const DecisionInput& in, const ProfileResults& results) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;

 private:
  void ReadNested(const Params& params, codec::yaml::Problems& problems);
  void ReadFlat(const Params& params, codec::yaml::Problems& problems);

  Stages stages_;
  std::string path_;
};

}  // namespace sluice::schedule

// data-parallel-profile-handler: one profile over the ranks of data-parallel engines; requests go to one port of each
// address, which finds the rank by a header.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class DataParallelProfileHandler final : public Plugin, public ProfileHandler, public Hooks {
 public:
  static const PluginInfo kInfo;
  DataParallelProfileHandler(const PluginInfo& info, std::string name, const Params& params)
      : Plugin(info, std::move(name)), primary_port_(static_cast<uint16_t>(params.Int("primaryPort"))) {}
  Status BindProfiles(std::span<const std::string> names) override;
  void Next(const DecisionInput& in, const ProfileResults& results, std::vector<ProfileRun>& next) const override;
  Result<uint32_t> Primary(const DecisionInput& in, const ProfileResults& results) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;

 private:
  uint16_t primary_port_;
};

}  // namespace sluice::schedule

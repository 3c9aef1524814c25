#include "schedule/plugins/profile/single_profile_handler.h"

namespace sluice::schedule {

constinit const PluginInfo SingleProfileHandler::kInfo = {.type = "single-profile-handler",
                                                          .help = "Runs the one scheduling profile.",
                                                          .make = MakePlain<SingleProfileHandler>};

Status SingleProfileHandler::CheckProfiles(std::span<const std::string> names) const {
  if (names.size() == 1) return {};
  return Fail(Code::kInvalidArgument, "SingleProfileHandler cannot support multiple scheduling profiles; there are " +
                                          std::to_string(names.size()));
}

void SingleProfileHandler::Next(const DecisionInput&, std::span<const ProfileOutcome> outcomes,
                                std::vector<uint32_t>& next) const {
  if (outcomes[0] == ProfileOutcome::kNotRun) next.push_back(0);
}

Result<uint32_t> SingleProfileHandler::Primary(const DecisionInput&, std::span<const ProfileOutcome>) const {
  return uint32_t{0};
}

}  // namespace sluice::schedule

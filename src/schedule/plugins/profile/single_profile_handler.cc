#include "schedule/plugins/profile/single_profile_handler.h"

namespace sluice::schedule {

constinit const PluginInfo SingleProfileHandler::kInfo = {.type = "single-profile-handler",
                                                          .help = "Runs the one scheduling profile.",
                                                          .make = MakePlain<SingleProfileHandler>};

Status SingleProfileHandler::BindProfiles(std::span<const std::string> names) {
  if (names.size() == 1) return {};
  return Fail(Code::kInvalidArgument, "SingleProfileHandler cannot support multiple scheduling profiles; there are " +
                                          std::to_string(names.size()));
}

void SingleProfileHandler::Next(const DecisionInput&, const ProfileResults& results,
                                std::vector<ProfileRun>& next) const {
  if (results.OutcomeOf(0) == ProfileOutcome::kNotRun) next.push_back({0});
}

Result<uint32_t> SingleProfileHandler::Primary(const DecisionInput&, const ProfileResults&) const {
  return uint32_t{0};
}

}  // namespace sluice::schedule

#include "schedule/plugins/profile/data_parallel_profile_handler.h"

#include "schedule/plugins/profile/stages.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "primaryPort",
     .type = ParamType::kInt,
     .fallback = "8000",
     .min = 1,
     .max = 65535,
     .help = "port that requests are sent to"},
};

}  // namespace

constinit const PluginInfo DataParallelProfileHandler::kInfo = {
    .type = "data-parallel-profile-handler",
    .help =
        "Runs the one scheduling profile and sends the request to primaryPort of the chosen address, with the "
        "chosen ip:port in x-data-parallel-host-port.",
    .params = kParams,
    .make = MakeWithParams<DataParallelProfileHandler>,
    .deprecated = "a pool with several target ports and single-profile-handler"};

Status DataParallelProfileHandler::BindProfiles(std::span<const std::string> names) {
  if (names.size() == 1) return {};
  return Fail(Code::kInvalidArgument,
              "data-parallel-profile-handler runs one scheduling profile; there are " + std::to_string(names.size()));
}

void DataParallelProfileHandler::Next(const DecisionInput&, const ProfileResults& results,
                                      std::vector<ProfileRun>& next) const {
  if (results.OutcomeOf(0) == ProfileOutcome::kNotRun) next.push_back({0});
}

Result<uint32_t> DataParallelProfileHandler::Primary(const DecisionInput&, const ProfileResults&) const {
  return uint32_t{0};
}

void DataParallelProfileHandler::OnDispatch(const DecisionInput&, const model::Decision& decision,
                                            Ticket& ticket) const {
  WriteDataParallelHeader(*decision.pick().endpoint, primary_port_, ticket);
}

}  // namespace sluice::schedule

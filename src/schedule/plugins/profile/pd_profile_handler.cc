#include "schedule/plugins/profile/pd_profile_handler.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "decodeProfile", .type = ParamType::kString, .fallback = "decode", .help = "profile of the decode stage"},
    {.name = "prefillProfile",
     .type = ParamType::kString,
     .fallback = "prefill",
     .help = "profile of the prefill stage"},
    {.name = "primaryPort",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .max = 65535,
     .help = "port that requests go to, with the chosen rank in x-data-parallel-host-port; 0: the endpoint's own"},
    {.name = "deciderPluginName",
     .type = ParamType::kString,
     .fallback = "prefix-based-pd-decider",
     .help = "plugin that says whether prefill runs elsewhere"},
    {.name = "prefixMatchInfoProducerName",
     .type = ParamType::kString,
     .warn_when_set = "has no effect: the decider reads the default producer"},
};

}  // namespace

constinit const PluginInfo PdProfileHandler::kInfo = {
    .type = "pd-profile-handler",
    .help = "Decodes on one endpoint and, when its decider says so, prefills on another.",
    .params = kParams,
    .make = MakeWithParams<PdProfileHandler>,
    .deprecated = "disagg-profile-handler"};

PdProfileHandler::PdProfileHandler(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      primary_port_(static_cast<uint16_t>(params.Int("primaryPort"))),
      path_(params.path()) {
  stages_.decode.profile = params.String("decodeProfile");
  stages_.prefill = {.profile = params.String("prefillProfile"), .decider = params.String("deciderPluginName")};
}

void PdProfileHandler::BindReferences(const PluginFinder& find, codec::yaml::Problems& problems) {
  stages_.BindDeciders(find, path_, problems);
}

void PdProfileHandler::Next(const DecisionInput& in, const ProfileResults& results,
                            std::vector<ProfileRun>& next) const {
  stages_.Next(in, results, next);
}

Result<uint32_t> PdProfileHandler::Primary(const DecisionInput&, const ProfileResults& results) const {
  return stages_.Primary(results);
}

void PdProfileHandler::OnDispatch(const DecisionInput&, const model::Decision& decision, Ticket& ticket) const {
  WriteStageHeaders(decision, stages_.prefill.profile, {}, ticket);
  WriteDataParallelHeader(*decision.pick().endpoint, primary_port_, ticket);
}

}  // namespace sluice::schedule

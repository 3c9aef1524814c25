#include "schedule/plugins/profile/disagg_headers_handler.h"

#include "schedule/plugins/profile/stages.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "prefillProfile",
     .type = ParamType::kString,
     .fallback = "prefill",
     .help = "profile of the prefill stage"},
    {.name = "encodeProfile", .type = ParamType::kString, .fallback = "encode", .help = "profile of the encode stage"},
};

}  // namespace

constinit const PluginInfo DisaggHeadersHandler::kInfo = {
    .type = "disagg-headers-handler",
    .help = "Sets x-prefiller-host-port and x-encoder-hosts-ports to what the stages' profiles chose.",
    .params = kParams,
    .make = MakeWithParams<DisaggHeadersHandler>,
    .deprecated = "disagg-profile-handler, which does this itself"};

constinit const PluginInfo DisaggHeadersHandler::kPrefillInfo = {
    .type = "prefill-header-handler",
    .help = "The old name of disagg-headers-handler.",
    .params = kParams,
    .make = MakeWithParams<DisaggHeadersHandler>,
    .deprecated = "disagg-profile-handler, which does this itself"};

DisaggHeadersHandler::DisaggHeadersHandler(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      prefill_profile_(params.String("prefillProfile")),
      encode_profile_(params.String("encodeProfile")) {}

void DisaggHeadersHandler::OnDispatch(const DecisionInput&, const model::Decision& decision, Ticket& ticket) const {
  WriteStageHeaders(decision, prefill_profile_, encode_profile_, ticket);
}

}  // namespace sluice::schedule

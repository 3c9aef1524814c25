#include "schedule/plugins/profile/disagg_profile_handler.h"

#include <algorithm>

#include "base/text.h"
#include "schedule/plugins/node_map.h"

namespace sluice::schedule {
namespace {

constexpr std::string_view kFlatWarning = "is deprecated: use profiles and deciders";
constexpr std::string_view kFlatFields[] = {"decodeProfile",           "prefillProfile",
                                            "encodeProfile",           "prefillDeciderPluginName",
                                            "encodeDeciderPluginName", "deciderPluginName"};

constexpr ParamSpec kParams[] = {
    {.name = "stageOrder",
     .type = ParamType::kString,
     .fallback = "decode-first",
     .help = "decode-first: the prefill decider knows the decode endpoint; prefill-first: prefill always runs"},
    {.name = "profiles",
     .type = ParamType::kNode,
     .help = "{decode, prefill, encode}: names of the stages' profiles, by default the same words"},
    {.name = "deciders",
     .type = ParamType::kNode,
     .help = "{prefill, encode}: plugins that say whether the stage runs; without one it does not"},
    {.name = "decodeProfile", .type = ParamType::kString, .warn_when_set = kFlatWarning},
    {.name = "prefillProfile", .type = ParamType::kString, .warn_when_set = kFlatWarning},
    {.name = "encodeProfile", .type = ParamType::kString, .warn_when_set = kFlatWarning},
    {.name = "prefillDeciderPluginName", .type = ParamType::kString, .warn_when_set = kFlatWarning},
    {.name = "encodeDeciderPluginName", .type = ParamType::kString, .warn_when_set = kFlatWarning},
    {.name = "deciderPluginName", .type = ParamType::kString, .warn_when_set = kFlatWarning},
};

// "Decode_First" is "decodefirst".
std::string Plain(std::string_view word) {
  std::string plain = AsciiLower(word);
  std::erase_if(plain, [](char c) { return c == '-' || c == '_'; });
  return plain;
}

void Take(std::string& into, std::string value) {
  if (!value.empty()) into = std::move(value);
}

}  // namespace

constinit const PluginInfo DisaggProfileHandler::kInfo = {
    .type = "disagg-profile-handler",
    .help =
        "Decodes on one endpoint; prefill and the encoding of media run on endpoints of their own when their "
        "deciders say so. Tells the sidecar where by x-prefiller-host-port and x-encoder-hosts-ports. A stage that "
        "finds no endpoint is left out.",
    .params = kParams,
    .make = MakeChecked<DisaggProfileHandler>};

DisaggProfileHandler::DisaggProfileHandler(const PluginInfo& info, std::string name, const Params& params,
                                           codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)), path_(params.path()) {
  const std::string order = Plain(params.String("stageOrder"));
  if (order == "prefillfirst") {
    stages_.order = Stages::Order::kPrefillFirst;
  } else if (order != "decodefirst") {
    problems.Error(params.line(), path_ + ".stageOrder",
                   "expected decode-first or prefill-first, got \"" + params.String("stageOrder") + "\"");
  }
  const bool flat =
      std::any_of(std::begin(kFlatFields), std::end(kFlatFields), [&](auto field) { return params.IsSet(field); });
  const bool nested = params.IsSet("profiles") || params.IsSet("deciders");
  if (flat && nested) {
    problems.Error(params.line(), path_, "profiles and deciders cannot be mixed with the deprecated flat fields");
  }
  if (flat) ReadFlat(params, problems);
  ReadNested(params, problems);
  if (stages_.order == Stages::Order::kPrefillFirst && !stages_.prefill.decider.empty()) {
    problems.Error(params.line(), path_, "prefill-first always runs prefill: remove the prefill decider");
  }
}

void DisaggProfileHandler::ReadNested(const Params& params, codec::yaml::Problems& problems) {
  const codec::yaml::Node map = NodeMap(params, {"profiles", "deciders"});
  codec::yaml::MapReader reader(map, path_, problems);
  codec::yaml::MapReader profiles = reader.Map("profiles");
  Take(stages_.decode.profile, profiles.String("decode"));
  Take(stages_.prefill.profile, profiles.String("prefill"));
  Take(stages_.encode.profile, profiles.String("encode"));
  profiles.Finish();
  codec::yaml::MapReader deciders = reader.Map("deciders");
  Take(stages_.prefill.decider, deciders.String("prefill"));
  Take(stages_.encode.decider, deciders.String("encode"));
  deciders.Finish();
}

void DisaggProfileHandler::ReadFlat(const Params& params, codec::yaml::Problems& problems) {
  Take(stages_.decode.profile, params.String("decodeProfile"));
  Take(stages_.prefill.profile, params.String("prefillProfile"));
  Take(stages_.encode.profile, params.String("encodeProfile"));
  Take(stages_.prefill.decider, params.String("deciderPluginName"));
  Take(stages_.prefill.decider, params.String("prefillDeciderPluginName"));
  Take(stages_.encode.decider, params.String("encodeDeciderPluginName"));
  if (params.IsSet("deciderPluginName") && params.IsSet("prefillDeciderPluginName")) {
    problems.Error(params.line(), path_, "deciderPluginName and prefillDeciderPluginName are the same setting");
  }
}

void DisaggProfileHandler::BindReferences(const PluginFinder& find, codec::yaml::Problems& problems) {
  stages_.BindDeciders(find, path_, problems);
}

void DisaggProfileHandler::Next(const DecisionInput& in, const ProfileResults& results,
                                std::vector<ProfileRun>& next) const {
  stages_.Next(in, results, next);
}

Result<uint32_t> DisaggProfileHandler::Primary(const DecisionInput&, const ProfileResults& results) const {
  return stages_.Primary(results);
}

void DisaggProfileHandler::OnDispatch(const DecisionInput&, const model::Decision& decision, Ticket& ticket) const {
  WriteStageHeaders(decision, stages_.prefill.profile, stages_.encode.profile, ticket);
}

}  // namespace sluice::schedule

#include "schedule/plugins/profile/header_profile_handler.h"

#include <algorithm>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "headerName",
     .type = ParamType::kString,
     .fallback = "EPP-Profile",
     .help = "request header with the profile's name"},
    {.name = "defaultProfile",
     .type = ParamType::kString,
     .fallback = "decode",
     .help = "profile of requests without the header"},
};

}  // namespace

constinit const PluginInfo HeaderProfileHandler::kInfo = {
    .type = "header-profile-handler",
    .stability = Stability::kAlpha,
    .help = "Runs the scheduling profile that a request header names; a single profile runs whatever it says.",
    .params = kParams,
    .make = MakeWithParams<HeaderProfileHandler>};

HeaderProfileHandler::HeaderProfileHandler(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      header_(AsciiLower(params.String("headerName"))),
      default_profile_(params.String("defaultProfile")) {}

Status HeaderProfileHandler::BindProfiles(std::span<const std::string> names) {
  profiles_.assign(names.begin(), names.end());
  if (names.size() == 1 || std::find(names.begin(), names.end(), default_profile_) != names.end()) return {};
  return Fail(Code::kInvalidArgument, "header-profile-handler: there is no scheduling profile named '" +
                                          default_profile_ + "' for requests without the header '" + header_ + "'" +
                                          DidYouMean(default_profile_, profiles_));
}

uint32_t HeaderProfileHandler::Wanted(const model::Request& request) const {
  if (profiles_.size() == 1) return 0;
  std::string_view name = TrimSpace(request.Header(header_));
  if (name.empty()) name = default_profile_;
  const auto at = std::find(profiles_.begin(), profiles_.end(), name);
  return at == profiles_.end() ? kUnknown : static_cast<uint32_t>(at - profiles_.begin());
}

void HeaderProfileHandler::Next(const DecisionInput& in, const ProfileResults& results,
                                std::vector<ProfileRun>& next) const {
  const uint32_t profile = Wanted(in.request);
  if (profile != kUnknown && results.OutcomeOf(profile) == ProfileOutcome::kNotRun) next.push_back({profile});
}

Result<uint32_t> HeaderProfileHandler::Primary(const DecisionInput& in, const ProfileResults&) const {
  const uint32_t profile = Wanted(in.request);
  if (profile != kUnknown) return profile;
  constexpr size_t kShown = 64;  // of what a stranger wrote
  const std::string name(TrimSpace(in.request.Header(header_)).substr(0, kShown));
  return Fail(Code::kResourceExhausted,
              "the header '" + header_ + "' names no scheduling profile: '" + name + "'" + DidYouMean(name, profiles_));
}

}  // namespace sluice::schedule

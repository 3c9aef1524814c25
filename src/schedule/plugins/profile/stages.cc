#include "schedule/plugins/profile/stages.h"

#include <algorithm>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr std::string_view kPrefillHeader = "x-prefiller-host-port";
constexpr std::string_view kEncodeHeader = "x-encoder-hosts-ports";
constexpr std::string_view kDataParallelHeader = "x-data-parallel-host-port";

void RemoveHeader(Ticket& ticket, std::string_view name) {
  if (std::find(ticket.remove_headers.begin(), ticket.remove_headers.end(), name) == ticket.remove_headers.end()) {
    ticket.remove_headers.emplace_back(name);
  }
}

}  // namespace

Status Stages::BindProfiles(std::span<const std::string> names) {
  for (Stage* stage : {&decode, &prefill, &encode}) stage->index.reset();
  idle_profiles_.clear();
  for (uint32_t i = 0; i < names.size(); ++i) {
    bool known = false;
    for (Stage* stage : {&decode, &prefill, &encode}) {
      if (stage->profile != names[i]) continue;
      stage->index = i;
      known = true;
    }
    if (!known) idle_profiles_.push_back(names[i]);
  }
  if (decode.index) return {};
  return Fail(Code::kInvalidArgument, "the profile handler needs a scheduling profile named '" + decode.profile + "'" +
                                          DidYouMean(decode.profile, std::vector(names.begin(), names.end())));
}

void Stages::BindDeciders(const PluginFinder& find, const std::string& path, codec::yaml::Problems& problems) {
  for (Stage* stage : {&prefill, &encode}) {
    if (stage->decider.empty()) continue;
    Plugin* plugin = find(stage->decider);
    stage->decides = dynamic_cast<const Decider*>(plugin);
    if (plugin == nullptr) {
      problems.Error(0, path,
                     "a plugin has a dependency on the unregistered plugin " + stage->decider + " (decider of '" +
                         stage->profile + "')");
    } else if (stage->decides == nullptr) {
      problems.Error(0, path, "plugin '" + stage->decider + "' is not a decider");
    } else if (!stage->index) {
      problems.Warn(
          0, path,
          "decider '" + stage->decider + "' is never asked: there is no profile named '" + stage->profile + "'");
    }
  }
  const auto never_runs = [&](const std::string& profile, const std::string& why) {
    problems.Warn(0, path, "profile '" + profile + "' never runs: " + why);
  };
  if (encode.index && encode.decider.empty()) never_runs(encode.profile, "no decider is set for it");
  if (prefill.index && prefill.decider.empty() && order == Order::kDecodeFirst) {
    never_runs(prefill.profile, "no decider is set for it");
  }
  for (const std::string& profile : idle_profiles_) never_runs(profile, "it is of no stage");
}

bool Stages::Wanted(const Stage& stage, const DecisionInput& in, const model::Target* endpoint) {
  return stage.index && stage.decides != nullptr && stage.decides->Disaggregate(in, endpoint);
}

void Stages::Next(const DecisionInput& in, const ProfileResults& results, std::vector<ProfileRun>& next) const {
  const auto ran = [&](const Stage& stage) {
    return stage.index && results.OutcomeOf(*stage.index) != ProfileOutcome::kNotRun;
  };
  if (order == Order::kPrefillFirst) {
    if (ran(decode)) return;
    if (!ran(prefill) && !ran(encode)) {
      if (prefill.index) next.push_back({*prefill.index});
      if (Wanted(encode, in, nullptr)) next.push_back({*encode.index});
      if (!next.empty()) return;
    }
    next.push_back({*decode.index, prefill.index.value_or(ProfileRun::kNoPeer)});
    return;
  }
  if (!ran(decode)) {
    next.push_back({*decode.index});
    return;
  }
  const model::Target* endpoint = results.PickOf(*decode.index);
  if (endpoint == nullptr || ran(encode) || ran(prefill)) return;
  if (Wanted(encode, in, endpoint)) next.push_back({*encode.index});
  if (Wanted(prefill, in, endpoint)) next.push_back({*prefill.index, *decode.index});
}

Result<uint32_t> Stages::Primary(const ProfileResults& results) const {
  if (results.PickOf(*decode.index) != nullptr) return *decode.index;
  return Fail(Code::kResourceExhausted, "failed to find available decode workers");
}

void SetHeader(Ticket& ticket, std::string_view name, std::string value) {
  std::erase_if(ticket.set_headers, [&](const auto& header) { return header.first == name; });
  ticket.set_headers.emplace_back(name, std::move(value));
}

void WriteStageHeaders(const model::Decision& decision, std::string_view prefill_profile,
                       std::string_view encode_profile, Ticket& ticket) {
  RemoveHeader(ticket, kPrefillHeader);
  RemoveHeader(ticket, kEncodeHeader);
  for (const model::ProfileTargets& profile : decision.profiles) {
    if (profile.profile == prefill_profile) {
      SetHeader(ticket, kPrefillHeader, profile.targets.front().endpoint->host_port());
    } else if (profile.profile == encode_profile) {
      std::string all;
      for (const model::Target& target : profile.targets)
        all += (all.empty() ? "" : ",") + target.endpoint->host_port();
      SetHeader(ticket, kEncodeHeader, std::move(all));
    }
  }
}

void WriteDataParallelHeader(const model::Endpoint& endpoint, uint16_t primary_port, Ticket& ticket) {
  RemoveHeader(ticket, kDataParallelHeader);
  if (primary_port == 0) return;
  SetHeader(ticket, kDataParallelHeader, endpoint.host_port());
  ticket.port = primary_port;
}

}  // namespace sluice::schedule

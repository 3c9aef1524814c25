#include "schedule/plugins/filter/role_filter.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "schedule/plugins/score/member_column.h"

namespace sluice::schedule {
namespace {

constexpr const char* kRoleLabel = "llm-d.ai/role";

bool Among(std::string_view role, std::initializer_list<std::string_view> roles) {
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

}  // namespace

constinit const PluginInfo RoleFilter::kDecode = {
    .type = "decode-filter",
    .help =
        "Keeps endpoints whose label llm-d.ai/role is decode, prefill-decode, both or encode-prefill-decode, and "
        "those without that label.",
    .make = MakePlain<RoleFilter>};
constinit const PluginInfo RoleFilter::kPrefill = {
    .type = "prefill-filter",
    .help =
        "Keeps endpoints whose label llm-d.ai/role is prefill, encode-prefill, prefill-decode, both or "
        "encode-prefill-decode.",
    .make = MakePlain<RoleFilter>};
constinit const PluginInfo RoleFilter::kEncode = {
    .type = "encode-filter",
    .help = "Keeps endpoints whose label llm-d.ai/role is encode, encode-prefill or encode-prefill-decode.",
    .make = MakePlain<RoleFilter>};

bool RoleFilter::Takes(const model::Endpoint& endpoint) const {
  const auto label = endpoint.labels.find(kRoleLabel);
  if (label == endpoint.labels.end()) return &info() == &kDecode;
  const std::string_view role = label->second;
  if (role == "encode-prefill-decode") return true;
  if (&info() == &kDecode) return Among(role, {"decode", "prefill-decode", "both"});
  if (&info() == &kPrefill) return Among(role, {"prefill", "encode-prefill", "prefill-decode", "both"});
  return Among(role, {"encode", "encode-prefill"});
}

std::shared_ptr<PluginState> RoleFilter::MakeState(const StateOptions&) const {
  return std::make_shared<MemberColumn<uint8_t>>();
}

void RoleFilter::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  const auto& verdicts = in.StateOf<MemberColumn<uint8_t>>(*this).For(
      in.pool, [&](const model::Endpoint& endpoint) { return static_cast<uint8_t>(Takes(endpoint)); });
  for (size_t i = 0; i < keep.size(); ++i) keep[i] = verdicts[candidates.row(i)];
}

}  // namespace sluice::schedule

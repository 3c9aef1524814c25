#include "schedule/plugins/headers/agent_identity.h"

#include <iterator>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "additionalSessionHeaders",
     .type = ParamType::kNode,
     .help = "list of headers that are looked at before the known ones"},
};

// Of Claude Code, OpenCode and Codex (the last one: before 0.131).
constexpr std::string_view kKnown[] = {"x-claude-code-session-id", "x-session-affinity", "session-id", "session_id"};

}  // namespace

constinit const PluginInfo AgentIdentity::kInfo = {
    .type = "agent-identity",
    .stability = Stability::kAlpha,
    .help =
        "A request that names no tenant gets as its fairness id the first of these headers that is not empty: the "
        "additional ones, x-claude-code-session-id, x-session-affinity, session-id, session_id.",
    .params = kParams,
    .make = MakeChecked<AgentIdentity>};

AgentIdentity::AgentIdentity(const PluginInfo& info, std::string name, const Params& params,
                             codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)) {
  const std::string path = params.path() + ".additionalSessionHeaders";
  const codec::yaml::Node& list = params.Node("additionalSessionHeaders");
  if (!list.IsNull() && !list.IsSequence()) problems.Error(list, path, "expected a list of header names");
  for (const codec::yaml::Node& item : list.items) {
    const std::string_view header = TrimSpace(item.scalar);
    if (!item.IsScalar() || header.empty()) {
      problems.Error(item, path, "expected a header name, got " + codec::yaml::Describe(item));
    } else {
      headers_.emplace_back(header);
    }
  }
  headers_.insert(headers_.end(), std::begin(kKnown), std::end(kKnown));
}

void AgentIdentity::ReadHeaders(model::Request& request) const {
  if (!request.fairness_id.empty()) return;
  for (const std::string& header : headers_) {
    const std::string_view value = TrimSpace(request.Header(header));
    if (value.empty()) continue;
    request.fairness_id = value;
    return;
  }
}

}  // namespace sluice::schedule

// agent-identity: a coding agent's session stands for the tenant of requests that name none, so that fairness works
// between sessions.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class AgentIdentity final : public Plugin, public HeaderReader {
 public:
  static const PluginInfo kInfo;
  AgentIdentity(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  void ReadHeaders(model::Request& request) const override;

 private:
  std::vector<std::string> headers_;  // the first that is not empty counts
};

}  // namespace sluice::schedule

// session-id-producer: the request's session, from a header or a cookie.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class SessionIdProducer final : public Plugin, public Producer {
 public:
  static const PluginInfo kInfo;
  SessionIdProducer(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  DataKind Provides() const override { return DataKind::kSessionId; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<SessionId>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;

 private:
  std::string header_;  // empty: a cookie has it
  std::string cookie_;
};

}  // namespace sluice::schedule

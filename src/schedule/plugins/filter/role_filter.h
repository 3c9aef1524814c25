// decode-filter, prefill-filter, encode-filter: keep the endpoints whose role label lets them do that stage.
// State: the verdict of each endpoint, computed once for each change of the pool's members.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class RoleFilter final : public Plugin, public Filter {
 public:
  static const PluginInfo kDecode;
  static const PluginInfo kPrefill;
  static const PluginInfo kEncode;
  using Plugin::Plugin;
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;

 private:
  bool Takes(const model::Endpoint& endpoint) const;
};

}  // namespace sluice::schedule

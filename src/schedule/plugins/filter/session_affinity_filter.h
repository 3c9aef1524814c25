// session-affinity-filter and multicluster-session-affinity-filter: a session stays on its endpoint while that can be
// chosen. State: SessionAffinity's.
#pragma once

#include "schedule/plugin.h"
#include "schedule/plugins/filter/session_affinity.h"

namespace sluice::schedule {

class SessionAffinityFilter final : public Plugin, public Filter, public Hooks {
 public:
  static const PluginInfo kInfo;
  static const PluginInfo kMulticlusterInfo;
  SessionAffinityFilter(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems)
      : Plugin(info, std::move(name)), affinity_(params, problems) {}
  std::vector<Need> Needs() const override { return affinity_.Needs(); }
  void Bind(std::span<const int> slots) override { affinity_.Bind(slots); }
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override {
    return affinity_.MakeState(options);
  }
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;
  void OnResponseHead(const Ticket& ticket, const ResponseHead& head, PluginState* state,
                      HeaderList& add) const override;

 private:
  SessionAffinity affinity_;
};

}  // namespace sluice::schedule

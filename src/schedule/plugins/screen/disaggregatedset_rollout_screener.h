// disaggregatedset-rollout-screener: while a DisaggregatedSet rolls out, a request's prefill and decode run on one
// revision. Chooses the revision by how many endpoints each has, before any profile runs, or obeys a header.
// State: revision, role and scope of each endpoint, worked out once for each change of the pool's members.
#pragma once

#include <string>
#include <vector>

#include "schedule/plugin.h"
#include "schedule/plugins/filter/label_selector.h"

namespace sluice::schedule {

class DisaggregatedSetRolloutScreener final : public Plugin, public Screener, public Hooks {
 public:
  static const PluginInfo kInfo;
  DisaggregatedSetRolloutScreener(const PluginInfo& info, std::string name, const Params& params,
                                  codec::yaml::Problems& problems);
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Screen(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;
  void OnResponseHead(const Ticket& ticket, const ResponseHead& head, PluginState* state,
                      HeaderList& add) const override;

 private:
  enum class Mode : uint8_t { kSum, kMaxRole, kDisabled };
  struct Selector {
    std::string header;
    std::string label;
    bool strict = false;
  };
  void ReadSelectors(codec::yaml::MapReader& reader, codec::yaml::Problems& problems);
  void ReadGating(codec::yaml::MapReader gating);
  bool ApplyStrictHeaders(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const;
  struct Table;
  std::vector<double> Weights(const Table& table, const Candidates& candidates, std::span<const uint8_t> keep) const;

  LabelSelector scope_;
  std::vector<Selector> selectors_;
  Mode mode_ = Mode::kSum;
  std::string revision_label_;
  std::string role_label_;
  std::vector<std::string> roles_;  // required
};

}  // namespace sluice::schedule

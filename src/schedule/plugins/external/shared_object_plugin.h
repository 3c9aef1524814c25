// shared-object: a plugin compiled outside the tree (include/sluice/plugin.h). One instance has the roles for which the
// library has functions. What it returns is checked: scores are clamped, NaN is "no score", and a pick out of range is
// counted and replaced by the highest total.
// Alpha, so a configuration cannot bring code into a process that was not started for it
// (--allow-experimental-plugins). State: the endpoints' addresses and the columns that are passed.
#pragma once

#include "schedule/plugin.h"
#include "schedule/plugins/external/shared_library.h"

namespace sluice::schedule {

class SharedObjectPlugin : public Plugin {
 public:
  static const PluginInfo kInfo;

  std::vector<Need> Needs() const override;
  void Bind(std::span<const int> slots) override;
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;

  // Picks out of range since the state was made.
  static uint64_t IgnoredPicks(const PluginState& state);

 protected:
  SharedObjectPlugin(const PluginInfo& info, std::string name, std::unique_ptr<SharedLibrary> library)
      : Plugin(info, std::move(name)), library_(std::move(library)) {}

  void CallFilter(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const;
  void CallScore(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const;
  void CallPick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
                std::vector<uint32_t>& picked) const;

 private:
  struct Arguments;
  Arguments ArgumentsOf(const DecisionInput& in, const Candidates& candidates) const;

  std::unique_ptr<SharedLibrary> library_;
  int prefix_slot_ = Board::kNoSlot;
  int tokens_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

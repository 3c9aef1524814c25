// burst-prefix-cache-producer: brings requests with the same prompt that come within one window to the same endpoint,
// so that a burst (several samples of one prompt) computes it once, while spreading different prompts over the
// endpoints. Upstream holds requests until their window is over and then places all of them; a decision here never
// waits. The first request of a prompt goes where the policy's other scorers want it, and the window's later ones
// follow it there, with upstream's rule for what does not fit (fewest placed in this window, then fewest running, then
// by name). State: what the present window placed where; emptied when a request comes after its end.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class BurstPrefixCacheProducer final : public Plugin, public Producer, public Hooks {
 public:
  static const PluginInfo kInfo;
  BurstPrefixCacheProducer(const PluginInfo& info, std::string name, const Params& params,
                           codec::yaml::Problems& problems);

  std::vector<Need> Needs() const override { return {{DataKind::kTokenizedPrompt, ""}}; }
  void Bind(std::span<const int> slots) override { tokens_slot_ = slots[0]; }
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void ForgetGone(const model::PoolMembers& members, PluginState& state) const override;

  DataKind Provides() const override { return DataKind::kPrefixMatch; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<PrefixMatch>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;

 private:
  struct Window;
  struct Group;
  static constexpr uint32_t kNobody = ~uint32_t{0};

  void ReadPrompt(const DecisionInput& in, const TokenizedPrompt& tokens, Window& window) const;
  uint32_t Place(const DecisionInput& in, const Candidates& candidates, Window& window) const;
  uint32_t SharingMost(const DecisionInput& in, const Candidates& candidates, Window& window) const;
  static bool Better(const DecisionInput& in, const Window& window, uint32_t a, uint32_t b);
  uint32_t LeastLoaded(const DecisionInput& in, const Candidates& candidates, const Window& window,
                       const Group& group) const;

  Duration window_;
  uint32_t per_replica_max_;
  uint32_t block_size_;
  size_t blocks_max_;
  size_t colocate_blocks_min_;
  size_t batch_max_;
  bool by_tokens_;
  int tokens_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

// approx-prefix-cache-producer: guesses which endpoint holds how much of a prompt from what was sent where.
// State: kvindex::ApproxPrefixIndex, updated when a request is dispatched.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class ApproxPrefixCacheProducer final : public Plugin, public Producer, public Hooks {
 public:
  static constexpr uint32_t kBlockSizeMin = 64;  // tokens; smaller engine blocks are grouped
  static const PluginInfo kInfo;
  ApproxPrefixCacheProducer(const PluginInfo& info, std::string name, const Params& params);

  std::vector<Need> Needs() const override { return {{DataKind::kTokenizedPrompt, ""}}; }
  void Bind(std::span<const int> slots) override { tokens_slot_ = slots[0]; }
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void ForgetGone(const model::PoolMembers& members, PluginState& state) const override;

  DataKind Provides() const override { return DataKind::kPrefixMatch; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<PrefixMatch>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;

  // Blocks that the state remembers, and their bytes: for metrics.
  static size_t Entries(const PluginState& state);
  static size_t ByteSize(const PluginState& state);

 private:
  uint32_t BlockSize(const DecisionInput& in, const Candidates& candidates) const;
  size_t BlocksMax(uint32_t block_size) const;

  bool auto_tune_;
  uint32_t block_size_;
  size_t tokens_max_;
  size_t blocks_max_;
  size_t capacity_;
  int tokens_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

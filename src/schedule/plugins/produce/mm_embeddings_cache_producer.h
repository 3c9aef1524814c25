// mm-embeddings-cache-producer: guesses which endpoint holds the encodings of which images, videos and sounds, from
// what was sent where. State: for each endpoint the hashes that it got last (kvindex::ApproxPrefixIndex), updated at
// dispatch.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class MmEmbeddingsCacheProducer final : public Plugin, public Producer, public Hooks {
 public:
  static const PluginInfo kInfo;
  MmEmbeddingsCacheProducer(const PluginInfo& info, std::string name, const Params& params);

  std::vector<Need> Needs() const override { return {{DataKind::kTokenizedPrompt, ""}}; }
  void Bind(std::span<const int> slots) override { tokens_slot_ = slots[0]; }
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void ForgetGone(const model::PoolMembers& members, PluginState& state) const override;

  DataKind Provides() const override { return DataKind::kEncoderMatch; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<EncoderMatch>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;

 private:
  size_t capacity_;  // hashes an endpoint
  int tokens_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

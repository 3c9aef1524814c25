// consistent-hash-picker: requests with the same key go to the same endpoint, whatever the totals, so that its caches
// stay warm without any shared state; with a bound on how much more than its share an endpoint may carry (Mirrokni,
// Thorup and Zadimoghaddam 2018). The order of the endpoints for a key is rendezvous hashing (Thaler and Ravishankar
// 1998) over their ids: when one leaves only its own keys move, when one comes it takes 1/n of each.
// State: the hash of each endpoint's id, made again when members change. Cost: one multiplication a candidate.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class ConsistentHashPicker final : public Plugin, public Picker {
 public:
  static const PluginInfo kInfo;
  ConsistentHashPicker(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  std::vector<Need> Needs() const override { return {{DataKind::kInflightLoad, producer_}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Pick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
            std::vector<uint32_t>& picked, std::vector<double>& scratch) const override;

 private:
  enum class Key : uint8_t { kHeader, kSessionId, kFairnessId, kPromptPrefix };
  // The key's hash; nothing when the request has no such key.
  std::optional<uint64_t> KeyOf(const model::Request& request) const;

  size_t count_;
  Key key_ = Key::kSessionId;
  std::string header_;
  size_t prefix_tokens_;
  double load_factor_;
  std::string producer_;
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

// context-length-aware: prefers endpoints whose label says that they are for prompts of this length, and on request
// drops the others. The label is "min-max" in tokens.
// State: the parsed labels, by row.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class ContextLengthAware final : public Plugin, public Filter, public Scorer {
 public:
  static const PluginInfo kInfo;
  ContextLengthAware(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  std::vector<Need> Needs() const override { return {{DataKind::kTokenizedPrompt, ""}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override;
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

  // What a label means. `kNone`: the endpoint has none; `kBad`: it is not a range.
  struct Range {
    enum class Kind : uint8_t { kNone, kBad, kRange };
    Kind kind = Kind::kNone;
    int64_t min = 0, max = 0;
    bool Has(int64_t tokens) const { return tokens >= min && tokens <= max; }
  };
  static Range ParseRange(std::string_view label);

 private:
  const std::vector<Range>& Ranges(const DecisionInput& in) const;
  int64_t PromptTokens(const DecisionInput& in) const;

  std::string label_;
  bool filter_;
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

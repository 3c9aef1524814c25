// precise-prefix-cache-producer: knows which endpoint holds how much of a prompt, from the engines' KV events
// (cache_index.h). It needs exact tokens. Where it cannot know, it says so (the data's note, hence receipt, metric and
// log line) and gives the next best: for estimated tokens what approx-prefix-cache-producer guesses, when the
// configuration has one; for an endpoint whose events are incomplete what is listed of it and what was sent there.
// State: the shared index, this decision's block keys, and the reader's place in the index.
// precise-prefix-cache-scorer, deprecated: the same producer and prefix-cache-scorer in one; it reads from an existing
// precise-prefix-cache-producer instead when there is one.
#pragma once

#include "schedule/plugin.h"
#include "schedule/plugins/produce/cache_settings.h"

namespace sluice::schedule {

class PrecisePrefixCacheProducer : public Plugin, public Producer, public Hooks {
 public:
  static const PluginInfo kInfo;
  static std::span<const ParamSpec> Parameters();
  PrecisePrefixCacheProducer(const PluginInfo& info, std::string name, const Params& params,
                             codec::yaml::Problems& problems);

  std::vector<Need> Needs() const override;
  void Bind(std::span<const int> slots) override;
  std::shared_ptr<PluginState> MakeState(const StateOptions& options) const override;

  DataKind Provides() const override { return DataKind::kPrefixMatch; }
  std::unique_ptr<Data> MakeData() const override;
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;
  bool FromOutside() const override { return true; }
  void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const override;
  void OnEnd(const Ticket& ticket, const ResponseEnd& end, PluginState* state,
             ReportedAttributes& attributes) const override;

  const CacheSettings& settings() const { return parameters_.settings; }

 private:
  CacheParameters parameters_;
  bool speculative_;
  int tokens_slot_ = Board::kNoSlot;
  int guess_slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

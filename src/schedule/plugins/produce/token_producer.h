// token-producer, estimate mode: stands four bytes of prompt for a token, so that prefixes can be compared and load
// counted without a tokenizer. Token ids that the client sent are taken as they are.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class TokenProducer final : public Plugin, public Producer {
 public:
  static const PluginInfo kInfo;
  TokenProducer(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  DataKind Provides() const override { return DataKind::kTokenizedPrompt; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<TokenizedPrompt>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;
};

}  // namespace sluice::schedule

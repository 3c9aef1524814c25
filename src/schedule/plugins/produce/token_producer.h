// token-producer, estimate mode: stands four bytes of prompt for a token, so that prefixes can be compared and load
// counted without a tokenizer. Token ids that the client sent are taken as they are. An image, a video or a sound is as
// many tokens as media_estimate.h says, each of them the lower half of its content's hash.
#pragma once

#include "schedule/plugin.h"
#include "schedule/plugins/produce/media_estimate.h"

namespace sluice::schedule {

class TokenProducer final : public Plugin, public Producer {
 public:
  static constexpr uint32_t kMediaTokensMax = 1 << 20;  // of a request; what comes after has one token each

  static const PluginInfo kInfo;
  TokenProducer(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  DataKind Provides() const override { return DataKind::kTokenizedPrompt; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<TokenizedPrompt>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;

 private:
  void AppendEstimate(const model::Prompt& prompt, const VideoHeaders& headers, uint32_t& media_left,
                      TokenizedPrompt& out) const;

  MediaEstimate media_;
};

}  // namespace sluice::schedule

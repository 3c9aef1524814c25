// token-producer: the prompt as tokens. Token ids that are there already are taken as they are: the client sent them,
// or the gateway had them made before the decision by what `Source` names (decisions are pure; gateway/prompt_tokens.h
// does the work). Otherwise four bytes of prompt stand for a token, so that prefixes can be compared and load counted
// without a tokenizer; an image, a video or a sound is then as many tokens as media_estimate.h says, each of them the
// lower half of its content's hash.
#pragma once

#include "base/clock.h"
#include "schedule/plugin.h"
#include "schedule/plugins/produce/media_estimate.h"

namespace sluice::schedule {

class Policy;

// Who makes the tokens of a policy's prompts.
struct TokenSource {
  enum class Mode : uint8_t { kEstimate, kVllm, kTokenizer };
  Mode mode = Mode::kEstimate;
  std::string path;         // kTokenizer: a folder with a tokenizer.json, or a .gguf file
  int64_t cache_bytes = 0;  // kTokenizer: of the text-prefix cache
  std::string url;          // kVllm: "http://host:port"
  std::string model_name;   // kVllm: as the render endpoint knows it
  Duration timeout{};
  Duration media_timeout{};  // kVllm: for requests whose content is a list of parts
  bool operator==(const TokenSource&) const = default;
};

class TokenProducer final : public Plugin, public Producer {
 public:
  static constexpr uint32_t kMediaTokensMax = 1 << 20;  // of a request; what comes after has one token each

  static const PluginInfo kInfo;
  TokenProducer(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems);
  DataKind Provides() const override { return DataKind::kTokenizedPrompt; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<TokenizedPrompt>(); }
  Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const override;

  const TokenSource& source() const { return source_; }
  // Of the policy's first token-producer that does not estimate; otherwise an estimate.
  static TokenSource SourceOf(const Policy& policy);

 private:
  void ReadVllm(const Params& params, codec::yaml::Problems& problems);
  void ReadTokenizer(const Params& params, codec::yaml::Problems& problems);
  void AppendEstimate(const model::Prompt& prompt, const VideoHeaders& headers, uint32_t& media_left,
                      TokenizedPrompt& out) const;

  TokenSource source_;
  MediaEstimate media_;
};

}  // namespace sluice::schedule

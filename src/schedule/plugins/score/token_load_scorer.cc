#include "schedule/plugins/score/token_load_scorer.h"

#include <algorithm>

namespace sluice::schedule {
namespace {
constexpr ParamSpec kParams[] = {
    {.name = "queueThresholdTokens",
     .type = ParamType::kInt,
     .fallback = "4194304",
     .min = 1,
     .max = 1e15,
     .help = "tokens at which an endpoint scores 0"},
    {.name = "inFlightLoadProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default inflight-load-producer"},
};
}  // namespace

constinit const PluginInfo TokenLoadScorer::kInfo = {
    .type = "token-load-scorer",
    .help =
        "1 - min(t, threshold) / threshold, where t is the uncached prompt tokens in flight on the endpoint and "
        "those that this request would add; nothing known gives 1.",
    .params = kParams,
    .make = MakeWithParams<TokenLoadScorer>};

TokenLoadScorer::TokenLoadScorer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      threshold_(static_cast<float>(params.Int("queueThresholdTokens"))),
      producer_(params.String("inFlightLoadProducerName")) {}

void TokenLoadScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  std::fill(out.begin(), out.end(), 0.0f);
  const auto* load = in.board.Get<InflightLoad>(slot_);
  if (load != nullptr) {
    const std::span<const float> tokens = candidates.Gather(load->tokens);
    std::copy(tokens.begin(), tokens.end(), out.begin());
    if (!load->added_tokens.empty()) {
      const std::span<const float> added = candidates.Gather(load->added_tokens);
      for (size_t i = 0; i < out.size(); ++i) out[i] += added[i];
    }
  }
  for (float& tokens : out) tokens = 1 - std::clamp(tokens, 0.0f, threshold_) / threshold_;
}

}  // namespace sluice::schedule

#include "schedule/plugins/score/prefix_cache_scorer.h"

#include <algorithm>

namespace sluice::schedule {
namespace {
constexpr ParamSpec kParams[] = {
    {.name = "prefixMatchInfoProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default approx-prefix-cache-producer"},
    {.name = "matchLengthWeight",
     .type = ParamType::kNumber,
     .fallback = "0",
     .min = 0,
     .max = 1,
     .help = "weight of the match's absolute length against its share"},
    {.name = "matchLengthScaleTokens",
     .type = ParamType::kInt,
     .fallback = "8192",
     .min = 1,
     .max = 1e9,
     .help = "tokens at which the length term reaches 1"},
};
}  // namespace

constinit const PluginInfo PrefixCacheScorer::kInfo = {.type = "prefix-cache-scorer",
                                                       .help =
                                                           "w * min(1, matched tokens / scale)^2 + (1 - w) * matched / "
                                                           "total blocks; no match data or an empty prompt gives 0.",
                                                       .params = kParams,
                                                       .make = MakeWithParams<PrefixCacheScorer>};

constinit const PluginInfo PrefixCacheScorer::kMulticlusterInfo = {
    .type = "multicluster-prefix-cache-scorer",
    .stability = Stability::kAlpha,
    .help = "prefix-cache-scorer over endpoints that are clusters.",
    .params = kParams,
    .make = MakeWithParams<PrefixCacheScorer>};

PrefixCacheScorer::PrefixCacheScorer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      producer_(params.String("prefixMatchInfoProducerName")),
      length_weight_(static_cast<float>(params.Number("matchLengthWeight"))),
      length_scale_(static_cast<float>(params.Int("matchLengthScaleTokens"))) {}

void PrefixCacheScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const auto* match = in.board.Get<PrefixMatch>(slot_);
  if (match == nullptr || match->total_blocks == 0) {
    std::fill(out.begin(), out.end(), 0.0f);
    return;
  }
  const std::span<const float> blocks = candidates.Gather(match->match_blocks);
  const float total = static_cast<float>(match->total_blocks);
  const float block = static_cast<float>(match->block_size);
  for (size_t i = 0; i < out.size(); ++i) {
    const float length = std::min(1.0f, blocks[i] * block / length_scale_);
    out[i] = length_weight_ * length * length + (1 - length_weight_) * (blocks[i] / total);
  }
}

}  // namespace sluice::schedule

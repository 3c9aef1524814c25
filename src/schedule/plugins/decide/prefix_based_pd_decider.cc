#include "schedule/plugins/decide/prefix_based_pd_decider.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "nonCachedTokens",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .max = 1e12,
     .help = "uncached prompt tokens from which on prefill is split off; 0: never"},
    {.name = "promptTokens",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .max = 1e12,
     .help = "shorter prompts are never split; 0: any length"},
};

}  // namespace

constinit const PluginInfo PrefixBasedPdDecider::kInfo = {
    .type = "prefix-based-pd-decider",
    .help = "Says yes when the endpoint lacks at least nonCachedTokens of the prompt; no where that is not known.",
    .params = kParams,
    .make = MakeChecked<PrefixBasedPdDecider>};

PrefixBasedPdDecider::PrefixBasedPdDecider(const PluginInfo& info, std::string name, const Params& params,
                                           codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      uncached_min_(static_cast<double>(params.Int("nonCachedTokens"))),
      prompt_min_(static_cast<double>(params.Int("promptTokens"))) {
  if (uncached_min_ == 0) {
    problems.Warn(params.line(), params.path() + ".nonCachedTokens",
                  "is 0: '" + this->name() + "' never splits prefill off; set the tokens from which on it pays");
  }
}

void PrefixBasedPdDecider::Bind(std::span<const int> slots) {
  tokens_slot_ = slots[0];
  match_slot_ = slots[1];
}

bool PrefixBasedPdDecider::Disaggregate(const DecisionInput& in, const model::Target* endpoint) const {
  const auto* tokens = in.board.Get<TokenizedPrompt>(tokens_slot_);
  const auto* match = in.board.Get<PrefixMatch>(match_slot_);
  if (uncached_min_ == 0 || endpoint == nullptr || tokens == nullptr || match == nullptr) return false;
  const auto input = static_cast<double>(tokens->size());
  if (input < prompt_min_ || input < uncached_min_) return false;
  return input - double{match->CachedBlocks(endpoint->row)} * match->block_size >= uncached_min_;
}

}  // namespace sluice::schedule

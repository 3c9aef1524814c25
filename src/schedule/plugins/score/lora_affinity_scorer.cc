#include "schedule/plugins/score/lora_affinity_scorer.h"

#include <algorithm>

namespace sluice::schedule {
namespace {

bool Has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

float ScoreOf(const model::LoraState& lora, const std::string& adapter) {
  if (Has(lora.active, adapter)) return 1;
  if (lora.active.size() + lora.waiting.size() < lora.max) return 0.8f;
  return Has(lora.waiting, adapter) ? 0.6f : 0;
}

}  // namespace

constinit const PluginInfo LoraAffinityScorer::kInfo = {
    .type = "lora-affinity-scorer",
    .help =
        "1 where the target model is an active adapter, 0.8 where there is room for one more, 0.6 where it waits to "
        "be loaded, otherwise 0; 0 too where the engine reports no adapters.",
    .make = MakePlain<LoraAffinityScorer>};

void LoraAffinityScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const model::LoraState* latest = nullptr;  // endpoints in the same state share it
  float score = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const model::LoraState* lora = in.pool.lora[candidates.row(i)].get();
    if (lora != latest) {
      latest = lora;
      score = lora != nullptr ? ScoreOf(*lora, in.request.target_model) : 0;
    }
    out[i] = score;
  }
}

}  // namespace sluice::schedule

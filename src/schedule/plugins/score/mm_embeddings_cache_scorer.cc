#include "schedule/plugins/score/mm_embeddings_cache_scorer.h"

#include <algorithm>

namespace sluice::schedule {
namespace {
constexpr ParamSpec kParams[] = {
    {.name = "producerName",
     .type = ParamType::kString,
     .help = "instance to read from; default mm-embeddings-cache-producer"},
};
}  // namespace

constinit const PluginInfo MmEmbeddingsCacheScorer::kInfo = {
    .type = "mm-embeddings-cache-scorer",
    .help =
        "The share of the request's images, videos and sounds whose encoding the endpoint is thought to hold; 0 "
        "when there are none.",
    .params = kParams,
    .make = MakeWithParams<MmEmbeddingsCacheScorer>};

MmEmbeddingsCacheScorer::MmEmbeddingsCacheScorer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)), producer_(params.String("producerName")) {}

void MmEmbeddingsCacheScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const auto* match = in.board.Get<EncoderMatch>(slot_);
  if (match == nullptr || match->total == 0) {
    std::fill(out.begin(), out.end(), 0.0f);
    return;
  }
  const std::span<const float> matched = candidates.Gather(match->matched);
  const float total = static_cast<float>(match->total);
  for (size_t i = 0; i < out.size(); ++i) out[i] = matched[i] / total;
}

}  // namespace sluice::schedule

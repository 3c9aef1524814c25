// mm-embeddings-cache-scorer: prefers endpoints that are thought to hold the encodings of the request's media.
#pragma once

#include "schedule/plugin.h"

namespace sluice::schedule {

class MmEmbeddingsCacheScorer final : public Plugin, public Scorer {
 public:
  static const PluginInfo kInfo;
  MmEmbeddingsCacheScorer(const PluginInfo& info, std::string name, const Params& params);
  std::vector<Need> Needs() const override { return {{DataKind::kEncoderMatch, producer_}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const override;

 private:
  std::string producer_;
  int slot_ = Board::kNoSlot;
};

}  // namespace sluice::schedule

// PreciseMatch: what a precise producer found, by row: columns for scorers, and for receipts how each block is held.
// Thread rule: owned by one Board. Cost: clearing it costs as much as filling it did; few endpoints hold a prompt.
#pragma once

#include <vector>

#include "kvindex/prefix_index.h"
#include "model/pool_view.h"
#include "schedule/data.h"
#include "schedule/recorded_match.h"

namespace sluice::schedule {

class PreciseMatch final : public PrefixMatch {
 public:
  // Nothing is held by anybody of a pool of `rows`.
  void Reset(size_t rows, uint32_t block_size_tokens);
  // One prompt's match; `prompt_tokens` long.
  void Add(const model::PoolView& pool, const kvindex::PrefixMatch& found, const kvindex::HoldingWeights& weights,
           uint32_t prompt_tokens);
  // After the last one: `total` blocks were asked for; endpoints without a match have their trust from `index`.
  void Finish(uint32_t total, const kvindex::PrefixIndex* index);
  // Another producer's columns, or those that a log has.
  void Take(const PrefixMatch& guess);
  void Take(const RecordedMatch& recorded);

  bool KnowsShares() const override { return index_ != nullptr || guessed_; }
  model::CacheShare ShareOf(model::EndpointId endpoint, size_t row) const override;

 private:
  struct Holder {
    uint32_t row = 0;
    double weighted = 0;
    model::CacheShare share;
  };
  Holder& HolderOf(uint32_t row);

  std::vector<Holder> holders_;
  std::vector<uint32_t> place_;  // by row: 1 + its index in holders_; 0: none
  const kvindex::PrefixIndex* index_ = nullptr;
  bool guessed_ = false;
};

}  // namespace sluice::schedule

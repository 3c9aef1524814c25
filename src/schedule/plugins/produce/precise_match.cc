#include "schedule/plugins/produce/precise_match.h"

#include <algorithm>
#include <cmath>

namespace sluice::schedule {

using model::CacheShare;

namespace {

// The two tiers that get their names as they come are one to people.
CacheShare::Way WayOf(kvindex::Holding holding) {
  static constexpr std::array<CacheShare::Way, kvindex::kHoldings> kWays = {
      CacheShare::kGpu,       CacheShare::kCpu,       CacheShare::kDisk,        CacheShare::kShared,
      CacheShare::kOtherTier, CacheShare::kOtherTier, CacheShare::kSpeculative, CacheShare::kHistory};
  return kWays[holding];
}

// What the engine need not compute: whole blocks of its own, and never the prompt's last token, whose answer it needs.
uint32_t CachedTokens(uint64_t held_tokens, uint32_t prompt_tokens, uint32_t engine_block) {
  const uint64_t usable = std::min<uint64_t>(held_tokens, prompt_tokens > 0 ? prompt_tokens - 1 : 0);
  return static_cast<uint32_t>(usable / engine_block * engine_block);
}

}  // namespace

void PreciseMatch::Reset(size_t rows, uint32_t block_size_tokens) {
  if (match_blocks.size() != rows) {
    for (auto* column : {&match_blocks, &unweighted, &cpu_blocks}) column->assign(rows, 0);
    place_.assign(rows, 0);
  } else {
    for (const Holder& holder : holders_) {
      match_blocks[holder.row] = unweighted[holder.row] = cpu_blocks[holder.row] = 0;
      place_[holder.row] = 0;
    }
  }
  holders_.clear();
  note.clear();
  total_blocks = 0;
  block_size = block_size_tokens;
  index_ = nullptr;
  guessed_ = false;
}

PreciseMatch::Holder& PreciseMatch::HolderOf(uint32_t row) {
  if (place_[row] == 0) {
    holders_.push_back({.row = row, .weighted = 0, .share = {}});
    place_[row] = static_cast<uint32_t>(holders_.size());
  }
  return holders_[place_[row] - 1];
}

void PreciseMatch::Add(const model::PoolView& pool, const kvindex::PrefixMatch& found,
                       const kvindex::HoldingWeights& weights, uint32_t prompt_tokens) {
  const uint32_t row = pool.members->RowOf(found.endpoint);
  if (row == model::PoolMembers::kNoRow) return;
  Holder& holder = HolderOf(row);
  for (size_t way = 0; way < found.by_holding.size(); ++way) {
    const auto holding = static_cast<kvindex::Holding>(way);
    const uint32_t blocks = found.by_holding[way];
    holder.weighted += double{weights[holding]} * blocks;
    holder.share.blocks[WayOf(holding)] += blocks;
    if (holding != kvindex::kGpu && holding < kvindex::kTiersMax) cpu_blocks[row] += static_cast<float>(blocks);
  }
  unweighted[row] += static_cast<float>(found.blocks);
  holder.share.age_seconds = std::max(holder.share.age_seconds, found.age_seconds);
  const uint32_t engine_block = std::max(block_size, pool.block_size[row]);
  holder.share.cached_tokens += CachedTokens(uint64_t{found.blocks} * block_size, prompt_tokens, engine_block);
}

void PreciseMatch::Finish(uint32_t total, const kvindex::PrefixIndex* index) {
  total_blocks = total;
  index_ = index;
  for (const Holder& holder : holders_) {
    // Upstream truncates; a weight of 0.8 is not to make 5 blocks 3.9999.
    match_blocks[holder.row] = static_cast<float>(std::floor(holder.weighted + 1e-4));
  }
}

void PreciseMatch::Take(const PrefixMatch& guess) {
  total_blocks = guess.total_blocks;
  block_size = guess.block_size;
  guessed_ = true;
  for (uint32_t row = 0; row < guess.match_blocks.size(); ++row) {
    if (guess.match_blocks[row] == 0) continue;
    match_blocks[row] = unweighted[row] = guess.match_blocks[row];
    HolderOf(row).share.blocks[CacheShare::kGuess] = static_cast<uint32_t>(guess.match_blocks[row]);
  }
}

void PreciseMatch::Take(const RecordedMatch& recorded) {
  total_blocks = recorded.total_blocks;
  block_size = recorded.block_size;
  for (const RecordedMatch::Row& found : recorded.rows) {
    if (found.row >= match_blocks.size()) continue;
    HolderOf(found.row);
    match_blocks[found.row] = found.match;
    unweighted[found.row] = found.unweighted;
    cpu_blocks[found.row] = found.below_first_tier;
  }
}

CacheShare PreciseMatch::ShareOf(model::EndpointId endpoint, size_t row) const {
  CacheShare share;
  if (place_[row] != 0) share = holders_[place_[row] - 1].share;
  share.trust = guessed_ ? std::string_view("guessed") : Name(index_->TrustOf(endpoint));
  return share;
}

}  // namespace sluice::schedule

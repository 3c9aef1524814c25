#include "schedule/plugins/produce/approx_prefix_cache_producer.h"

#include <algorithm>
#include <limits>

#include "kvindex/approx_prefix_index.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "autoTune",
     .type = ParamType::kBool,
     .fallback = "true",
     .help = "take block size and capacity from the engine's metrics"},
    {.name = "blockSizeTokens",
     .type = ParamType::kInt,
     .fallback = "16",
     .min = 1,
     .max = 1'000'000,
     .help = "block size without autoTune; at least 64 is used"},
    {.name = "blockSize",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .max = 1'000'000,
     .warn_when_set = "is deprecated: use blockSizeTokens"},
    {.name = "maxPrefixTokensToMatch",
     .type = ParamType::kInt,
     .fallback = "131072",
     .min = 0,
     .max = 1e12,
     .help = "prompt tokens that are compared; 0: see maxPrefixBlocksToMatch"},
    {.name = "maxPrefixBlocksToMatch",
     .type = ParamType::kInt,
     .fallback = "2048",
     .min = 0,
     .max = 1e9,
     .help = "used when maxPrefixTokensToMatch is 0; 0: all"},
    {.name = "lruCapacityPerServer",
     .type = ParamType::kInt,
     .fallback = "31250",
     .min = 1,
     .max = 1e9,
     .help = "blocks remembered an endpoint when the engine does not say"},
};

struct HistoryState final : PluginState {
  explicit HistoryState(size_t entries_max) : index({.entries_max = entries_max}) {}
  kvindex::ApproxPrefixIndex index;
  // Of the latest decision; OnDispatch records them for the picked endpoints.
  std::vector<uint64_t> hashes;     // all prompts' chains
  std::vector<uint32_t> chain_end;  // index behind each chain
  kvindex::ApproxMatches matches;

  std::span<const uint64_t> Chain(size_t i) const {
    const uint32_t begin = i == 0 ? 0 : chain_end[i - 1];
    return std::span<const uint64_t>(hashes).subspan(begin, chain_end[i] - begin);
  }
};

// Clearing it costs as much as filling it did: few endpoints hold a prompt.
struct HistoryMatch final : PrefixMatch {
  std::vector<uint32_t> holders;  // rows that are not 0
};

}  // namespace

constinit const PluginInfo ApproxPrefixCacheProducer::kInfo = {
    .type = "approx-prefix-cache-producer",
    .help = "Guesses the cached share of a prompt on each endpoint from the blocks that were sent there before.",
    .params = kParams,
    .make = MakeWithParams<ApproxPrefixCacheProducer>};

constinit const PluginInfo ApproxPrefixCacheProducer::kMulticlusterInfo = {
    .type = "multicluster-approx-prefix-cache-producer",
    .stability = Stability::kAlpha,
    .help = "approx-prefix-cache-producer over endpoints that are clusters.",
    .params = kParams,
    .make = MakeWithParams<ApproxPrefixCacheProducer>};

ApproxPrefixCacheProducer::ApproxPrefixCacheProducer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      auto_tune_(params.Bool("autoTune")),
      block_size_(static_cast<uint32_t>(params.IsSet("blockSize") && !params.IsSet("blockSizeTokens")
                                            ? params.Int("blockSize")
                                            : params.Int("blockSizeTokens"))),
      tokens_max_(static_cast<size_t>(params.Int("maxPrefixTokensToMatch"))),
      blocks_max_(static_cast<size_t>(params.Int("maxPrefixBlocksToMatch"))),
      capacity_(static_cast<size_t>(params.Int("lruCapacityPerServer"))) {}

std::shared_ptr<PluginState> ApproxPrefixCacheProducer::MakeState(const StateOptions& options) const {
  return std::make_shared<HistoryState>(options.prefix_entries_max);
}

std::unique_ptr<Data> ApproxPrefixCacheProducer::MakeData() const { return std::make_unique<HistoryMatch>(); }

void ApproxPrefixCacheProducer::ForgetGone(const model::PoolMembers& members, PluginState& state) const {
  static_cast<HistoryState&>(state).index.RemoveIf(
      [&](model::EndpointId id) { return members.RowOf(id) == model::PoolMembers::kNoRow; });
}

uint32_t ApproxPrefixCacheProducer::BlockSize(const DecisionInput& in, const Candidates& candidates) const {
  const uint32_t engine = candidates.empty() ? 0 : in.pool.block_size[candidates.row(0)];
  return std::max(kBlockSizeMin, auto_tune_ && engine > 0 ? engine : block_size_);
}

size_t ApproxPrefixCacheProducer::BlocksMax(uint32_t block_size) const {
  if (tokens_max_ > 0) return tokens_max_ / block_size;
  return blocks_max_ > 0 ? blocks_max_ : std::numeric_limits<size_t>::max();
}

Status ApproxPrefixCacheProducer::Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const {
  auto& match = static_cast<HistoryMatch&>(out);
  HistoryState& state = in.StateOf<HistoryState>(*this);
  state.hashes.clear();
  state.chain_end.clear();
  state.matches.Clear();
  const auto* tokens = in.board.Get<TokenizedPrompt>(tokens_slot_);
  if (tokens == nullptr) return Fail(Code::kInternal, "no tokens to match");
  match.block_size = BlockSize(in, candidates);
  const size_t blocks_max = BlocksMax(match.block_size);
  for (size_t i = 0; i < tokens->prompt_end.size(); ++i) {
    kvindex::AppendBlockChain(in.request.target_model, in.request.cache_salt, tokens->Prompt(i), match.block_size,
                              blocks_max, state.hashes);
    state.chain_end.push_back(static_cast<uint32_t>(state.hashes.size()));
    state.index.Lookup(state.Chain(i), state.matches);
  }
  match.total_blocks = static_cast<uint32_t>(state.hashes.size());
  if (match.match_blocks.size() == in.pool.size()) {
    for (const uint32_t row : match.holders) match.match_blocks[row] = 0;
  } else {
    match.match_blocks.assign(in.pool.size(), 0);
  }
  match.holders.clear();
  for (const model::EndpointId id : state.matches.touched) {
    const uint32_t row = in.pool.members->RowOf(id);
    if (row != model::PoolMembers::kNoRow) {
      match.match_blocks[row] = static_cast<float>(state.matches.blocks_by_slot[id.slot]);
      match.holders.push_back(row);
    }
  }
  return {};
}

void ApproxPrefixCacheProducer::OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket&) const {
  HistoryState& state = in.StateOf<HistoryState>(*this);
  for (size_t p = 0; p < decision.profiles.size(); ++p) {
    if (p != decision.primary && decision.profiles[p].profile != "prefill") continue;
    const model::Target& target = decision.profiles[p].targets.front();
    const uint32_t engine_blocks = in.pool.num_blocks[target.row];
    const size_t capacity = auto_tune_ && engine_blocks > 0 ? engine_blocks : capacity_;
    for (size_t i = 0; i < state.chain_end.size(); ++i) state.index.Insert(target.id, state.Chain(i), capacity);
  }
}

size_t ApproxPrefixCacheProducer::Entries(const PluginState& state) {
  return static_cast<const HistoryState&>(state).index.entries();
}
size_t ApproxPrefixCacheProducer::ByteSize(const PluginState& state) {
  return static_cast<const HistoryState&>(state).index.ByteSize();
}

}  // namespace sluice::schedule

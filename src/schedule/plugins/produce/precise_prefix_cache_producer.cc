#include "schedule/plugins/produce/precise_prefix_cache_producer.h"

#include <algorithm>
#include <limits>

#include "schedule/plugins/produce/approx_prefix_cache_producer.h"
#include "schedule/plugins/produce/precise_match.h"
#include "schedule/recorded_match.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "tokenProcessorConfig",
     .type = ParamType::kNode,
     .help = "blockSizeTokens (16; must divide the engines' or be divided by it), hashSeed, hashAlgorithm (cbor-fnv or "
             "xxh64): how blocks are named"},
    {.name = "indexerConfig",
     .type = ParamType::kNode,
     .help = "kvBlockIndexConfig {inMemoryConfig {size, in blocks} or costAwareMemoryConfig {size, in bytes}}, default "
             "256Mi; kvCacheBackendConfigs [{name, weight}]: what a block is worth by tier (gpu 1, cpu 0.8, others 1)"},
    {.name = "kvEventsConfig",
     .type = ParamType::kNode,
     .help = "topicFilter (kv@), engineType (vllm or sglang), concurrency (4); zmqEndpoint: bound, engines connect to "
             "it; discoverPods (true): each endpoint is connected to at podDiscoveryConfig {socketPort 5557, "
             "replaySocketPort 0: none} plus its rank, or at its labels llm-d.ai/kv-events-port and "
             "llm-d.ai/kv-events-replay-port"},
    {.name = "speculativeIndexing",
     .type = ParamType::kBool,
     .fallback = "false",
     .help = "a dispatched request's blocks count as held until the engine's events confirm it"},
    {.name = "speculativeTTL", .type = ParamType::kDuration, .fallback = "2s", .help = "for at most so long"},
};

using kvindex::Trust;
using model::CacheShare;

constexpr size_t kBlocksMax = std::numeric_limits<uint32_t>::max();

struct PreciseState final : PluginState {
  explicit PreciseState(std::shared_ptr<CacheIndex> index, const kvindex::HoldingWeights& tier_weights)
      : cache(std::move(index)), weights(tier_weights), matches(cache->index) {}
  std::shared_ptr<CacheIndex> cache;  // outlives `matches`
  kvindex::HoldingWeights weights;
  kvindex::PrefixMatches matches;
  // Of the latest decision.
  std::vector<uint64_t> keys;       // all prompts' chains
  std::vector<uint32_t> chain_end;  // index behind each
  std::vector<kvindex::MultimodalSpan> items;

  std::span<const uint64_t> Chain(size_t i) const {
    const uint32_t begin = i == 0 ? 0 : chain_end[i - 1];
    return std::span<const uint64_t>(keys).subspan(begin, chain_end[i] - begin);
  }
  void Clear() {
    keys.clear();
    chain_end.clear();
  }
};

struct ReplayState final : PluginState {
  std::shared_ptr<const RecordedMatches> recorded;
  std::string lane;
};
// Of a gateway without event subscriptions, or without memory for one more index.
struct DeafState final : PluginState {};

struct PreciseMemo final : RequestMemo {
  CacheIndex::Answered answered;
};

// Appends the keys of prompt `i`; false when it has media whose place in it is not known, which the keys depend on.
bool AppendKeys(const TokenizedPrompt& tokens, size_t i, const model::Request& request, PreciseState& state) {
  const uint32_t begin = i == 0 ? 0 : tokens.prompt_end[i - 1], end = tokens.prompt_end[i];
  state.items.clear();
  for (const TokenizedPrompt::Media& media : tokens.media) {
    if (media.begin < begin || media.begin >= end) continue;
    if (media.length == 0 || media.name.empty()) return false;
    state.items.push_back({.hash = media.name, .offset = media.begin - begin, .length = media.length});
  }
  std::ranges::sort(state.items, {}, &kvindex::MultimodalSpan::offset);
  state.cache->keys.AppendChain(request.target_model, tokens.Prompt(i),
                                {.cache_salt = request.cache_salt, .items = state.items}, kBlocksMax, state.keys);
  return true;
}

std::string DegradedNote(const DecisionInput& in, const Candidates& candidates, const kvindex::PrefixIndex& index) {
  std::array<uint32_t, static_cast<size_t>(Trust::kBlockSize) + 1> count{};
  for (size_t i = 0; i < candidates.size(); ++i) {
    ++count[static_cast<size_t>(index.TrustOf(in.pool.id(candidates.row(i))))];
  }
  const size_t degraded = candidates.size() - count[static_cast<size_t>(Trust::kExact)];
  if (degraded == 0) return {};
  std::string why;
  for (size_t t = 0; t < count.size(); ++t) {
    if (count[t] == 0 || t == static_cast<size_t>(Trust::kExact)) continue;
    why += (why.empty() ? "" : ", ") + std::string(Name(static_cast<Trust>(t))) + " " + std::to_string(count[t]);
  }
  return "the caches of " + std::to_string(degraded) + " of " + std::to_string(candidates.size()) +
         " endpoints are not exactly known (" + why + "); `sluice get cache` says more";
}

}  // namespace

constinit const PluginInfo PrecisePrefixCacheProducer::kInfo = {
    .type = "precise-prefix-cache-producer",
    .help =
        "Knows the cached share of a prompt on each endpoint from the engines' KV events. Needs exact tokens; where "
        "it cannot know it says so, and approx-prefix-cache-producer answers when there is one.",
    .params = kParams,
    .make = MakeChecked<PrecisePrefixCacheProducer>};

std::span<const ParamSpec> PrecisePrefixCacheProducer::Parameters() { return kParams; }

PrecisePrefixCacheProducer::PrecisePrefixCacheProducer(const PluginInfo& info, std::string name, const Params& params,
                                                       codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      parameters_(CacheParameters::Read(params, problems)),
      speculative_(params.Bool("speculativeIndexing")) {}

std::vector<Need> PrecisePrefixCacheProducer::Needs() const {
  return {{DataKind::kTokenizedPrompt, ""},
          {DataKind::kPrefixMatch, std::string(ApproxPrefixCacheProducer::kInfo.type), /*required=*/false}};
}

void PrecisePrefixCacheProducer::Bind(std::span<const int> slots) {
  tokens_slot_ = slots[0];
  guess_slot_ = slots[1];
}

std::shared_ptr<PluginState> PrecisePrefixCacheProducer::MakeState(const StateOptions& options) const {
  if (options.recorded != nullptr) {
    auto state = std::make_shared<ReplayState>();
    state->recorded = options.recorded;
    state->lane = options.lane;
    return state;
  }
  if (options.caches == nullptr) return std::make_shared<DeafState>();
  std::shared_ptr<CacheIndex> cache = options.caches->Open(parameters_.settings);
  if (cache == nullptr) return std::make_shared<DeafState>();
  const kvindex::HoldingWeights weights = parameters_.WeightsFor(cache->index);
  return std::make_shared<PreciseState>(std::move(cache), weights);
}

std::unique_ptr<Data> PrecisePrefixCacheProducer::MakeData() const { return std::make_unique<PreciseMatch>(); }

Status PrecisePrefixCacheProducer::Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const {
  auto& match = static_cast<PreciseMatch&>(out);
  match.Reset(in.pool.size(), parameters_.settings.block_size_tokens);
  PluginState& any_state = in.StateOf<PluginState>(*this);
  if (const auto* replay = dynamic_cast<ReplayState*>(&any_state)) {
    const RecordedMatch* recorded = replay->recorded->Find(replay->lane, name());
    if (recorded == nullptr) return Fail(Code::kUnavailable, "the log does not have what it found");
    match.Take(*recorded);
    return {};
  }
  auto* state = dynamic_cast<PreciseState*>(&any_state);
  if (state != nullptr) state->Clear();
  const auto* tokens = in.board.Get<TokenizedPrompt>(tokens_slot_);
  if (tokens == nullptr) return Fail(Code::kInternal, "no tokens to match");

  std::string problem;
  if (tokens->estimated) {
    problem =
        "the prompt's tokens are an estimate, so what is cached cannot be known (give token-producer a tokenizer)";
  } else if (state == nullptr) {
    problem = "nobody listens to KV events here";
  }
  for (size_t i = 0; problem.empty() && i < tokens->prompt_end.size(); ++i) {
    if (!AppendKeys(*tokens, i, in.request, *state)) {
      problem = "the prompt has media whose place among its tokens is not known";
      state->Clear();
      break;
    }
    state->chain_end.push_back(static_cast<uint32_t>(state->keys.size()));
  }
  if (!problem.empty()) {
    const auto* guess = in.board.Get<PrefixMatch>(guess_slot_);
    if (guess != nullptr) match.Take(*guess);
    match.note = problem + (guess != nullptr ? "; it is guessed from what was sent where" : "; it counts as nothing");
    return {};
  }

  CacheIndex::Looked looked;
  const TimePoint begin = state->cache->clock.Now();
  for (size_t i = 0; i < state->chain_end.size(); ++i) {
    state->cache->index.Lookup(state->Chain(i), state->weights, state->matches);
    for (const kvindex::PrefixMatch& found : state->matches.All()) {
      looked.hits += found.blocks;
      looked.deepest = std::max(looked.deepest, found.blocks);
      match.Add(in.pool, found, state->weights, static_cast<uint32_t>(tokens->Prompt(i).size()));
    }
  }
  looked.took = state->cache->clock.Now() - begin;
  match.Finish(static_cast<uint32_t>(state->keys.size()), &state->cache->index);
  state->cache->OnLookup(looked);
  match.note = DegradedNote(in, candidates, state->cache->index);
  return {};
}

void PrecisePrefixCacheProducer::OnDispatch(const DecisionInput& in, const model::Decision& decision,
                                            Ticket& ticket) const {
  auto* state = dynamic_cast<PreciseState*>(&in.StateOf<PluginState>(*this));
  if (state == nullptr || state->chain_end.empty()) return;
  kvindex::PrefixIndex& index = state->cache->index;
  for (size_t p = 0; p < decision.profiles.size(); ++p) {
    if (p != decision.primary && decision.profiles[p].profile != "prefill") continue;
    const model::EndpointId id = decision.profiles[p].targets.front().id;
    const bool exact = index.TrustOf(id) == Trust::kExact;
    for (size_t i = 0; i < state->chain_end.size(); ++i) {
      const std::span<const uint64_t> chain = state->Chain(i);
      index.Touch(id, chain);
      if (speculative_) index.SpeculativeInsert(id, chain);
      // Whose events are not all heard is known by what was sent there.
      if (!exact) index.InsertHistory(id, chain);
    }
  }
  auto memo = std::make_unique<PreciseMemo>();
  memo->answered.endpoint = decision.pick().id;
  memo->answered.exact = index.TrustOf(decision.pick().id) == Trust::kExact;
  const CacheShare* cached = decision.receipt.profiles[decision.receipt.primary].CachedOf(0);
  if (cached != nullptr) memo->answered.predicted_tokens = cached->cached_tokens;
  ticket.memos.emplace_back(this->index(), std::move(memo));
}

void PrecisePrefixCacheProducer::OnEnd(const Ticket& ticket, const ResponseEnd& end, PluginState* any_state,
                                       ReportedAttributes&) const {
  const auto* state = dynamic_cast<PreciseState*>(any_state);
  const auto* memo = static_cast<PreciseMemo*>(ticket.MemoOf(*this));
  if (state == nullptr || memo == nullptr || end.failed || end.prompt_tokens < 0 || end.cached_tokens < 0) return;
  CacheIndex::Answered answered = memo->answered;
  answered.request_id = ticket.request_id;
  answered.prompt_tokens = end.prompt_tokens;
  answered.cached_tokens = end.cached_tokens;
  state->cache->OnAnswered(answered);
}

}  // namespace sluice::schedule

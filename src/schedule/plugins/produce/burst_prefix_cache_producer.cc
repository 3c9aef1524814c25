#include "schedule/plugins/produce/burst_prefix_cache_producer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "base/text.h"
#include "kvindex/approx_prefix_index.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "windowDurationMs",
     .type = ParamType::kInt,
     .fallback = "100",
     .min = 1,
     .max = 10000,
     .help = "requests that come within it are one burst"},
    {.name = "maxPerReplica",
     .type = ParamType::kInt,
     .fallback = "-1",
     .min = -1,
     .max = 1e9,
     .help = "requests of one prompt that go to one endpoint; -1: all"},
    {.name = "blockSizeTokens",
     .type = ParamType::kInt,
     .fallback = "64",
     .min = 1,
     .max = 1e6,
     .help = "tokens a block, for comparing prompts"},
    {.name = "maxPrefixTokensToMatch",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .max = 1e12,
     .help = "prompt tokens that are compared; 0: 2048 blocks"},
    {.name = "minColocateBlocks",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .max = 1e9,
     .help = "leading blocks that different prompts must share to be brought together; 0: only equal prompts are"},
    {.name = "maxBatchSize",
     .type = ParamType::kInt,
     .fallback = "1000",
     .min = -1,
     .max = 1e6,
     .help = "requests of a window that are placed, the rest is not; -1: a million"},
    {.name = "balanceBy",
     .type = ParamType::kString,
     .fallback = "requests",
     .help = "what is spread evenly: `requests` or their `tokens`"},
};
constexpr std::string_view kBalances[] = {"requests", "tokens"};
constexpr size_t kBlocksDefault = 2048;
constexpr int64_t kBatchMax = 1'000'000;

}  // namespace

// Requests of one prompt, by where they were sent.
struct BurstPrefixCacheProducer::Group {
  struct Placed {
    model::EndpointId id;
    uint32_t requests = 0;
  };
  std::vector<Placed> placed;  // in the order of first use
  uint32_t On(model::EndpointId id) const {
    for (const Placed& p : placed) {
      if (p.id == id) return p.requests;
    }
    return 0;
  }
};

struct BurstPrefixCacheProducer::Window final : PluginState {
  explicit Window(size_t entries_max) : index({.entries_max = entries_max}) {}

  TimePoint end = TimePoint::min();
  size_t requests = 0;  // placed ones
  double load = 0;
  std::vector<double> load_by_slot;
  std::unordered_map<uint64_t, Group> groups;  // by prompt
  kvindex::ApproxPrefixIndex index;            // of all prompts; only with minColocateBlocks

  // Of the latest decision; OnDispatch records it.
  uint64_t prompt = 0;
  std::vector<uint64_t> hashes;
  std::vector<uint32_t> chain_end;
  kvindex::ApproxMatches matches;
  double weight = 0;
  bool counts = false;  // has a prompt, and the window has room

  void Start(TimePoint until) {
    end = until;
    requests = 0;
    load = 0;
    load_by_slot.clear();
    groups.clear();
    index.RemoveIf([](model::EndpointId) { return true; });
  }
  double LoadOf(model::EndpointId id) const { return id.slot < load_by_slot.size() ? load_by_slot[id.slot] : 0; }
  std::span<const uint64_t> Chain(size_t i) const {
    const uint32_t begin = i == 0 ? 0 : chain_end[i - 1];
    return std::span<const uint64_t>(hashes).subspan(begin, chain_end[i] - begin);
  }
};

constinit const PluginInfo BurstPrefixCacheProducer::kInfo = {
    .type = "burst-prefix-cache-producer",
    .stability = Stability::kAlpha,
    .help =
        "Says of requests whose prompt came before within a short window that the whole prompt is where those went, "
        "so that a burst of samples computes it once.",
    .params = kParams,
    .make = MakeChecked<BurstPrefixCacheProducer>};

BurstPrefixCacheProducer::BurstPrefixCacheProducer(const PluginInfo& info, std::string name, const Params& params,
                                                   codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      window_(std::chrono::milliseconds(params.Int("windowDurationMs"))),
      per_replica_max_(params.Int("maxPerReplica") < 0 ? std::numeric_limits<uint32_t>::max()
                                                       : static_cast<uint32_t>(params.Int("maxPerReplica"))),
      block_size_(static_cast<uint32_t>(params.Int("blockSizeTokens"))),
      blocks_max_(params.Int("maxPrefixTokensToMatch") > 0
                      ? static_cast<size_t>(params.Int("maxPrefixTokensToMatch")) / block_size_
                      : kBlocksDefault),
      colocate_blocks_min_(static_cast<size_t>(params.Int("minColocateBlocks"))),
      batch_max_(static_cast<size_t>(params.Int("maxBatchSize") < 0 ? kBatchMax : params.Int("maxBatchSize"))),
      by_tokens_(params.String("balanceBy") == "tokens") {
  for (const std::string_view field : {"maxPerReplica", "maxBatchSize"}) {
    if (params.Int(field) == 0) {
      problems.Error(params.line(), params.path() + "." + std::string(field), "must be -1 or at least 1");
    }
  }
  const std::string& balance = params.String("balanceBy");
  if (std::find(std::begin(kBalances), std::end(kBalances), balance) == std::end(kBalances)) {
    problems.Error(params.line(), params.path() + ".balanceBy",
                   "expected requests or tokens, got \"" + balance + "\"" + DidYouMean(balance, kBalances));
  }
}

std::shared_ptr<PluginState> BurstPrefixCacheProducer::MakeState(const StateOptions& options) const {
  return std::make_shared<Window>(options.prefix_entries_max);
}

void BurstPrefixCacheProducer::ForgetGone(const model::PoolMembers& members, PluginState& state) const {
  static_cast<Window&>(state).index.RemoveIf(
      [&](model::EndpointId id) { return members.RowOf(id) == model::PoolMembers::kNoRow; });
}

void BurstPrefixCacheProducer::ReadPrompt(const DecisionInput& in, const TokenizedPrompt& tokens,
                                          Window& window) const {
  window.hashes.clear();
  window.chain_end.clear();
  std::string ends;  // each chain's last hash stands for its whole prompt
  for (size_t i = 0; i < tokens.prompt_end.size(); ++i) {
    kvindex::AppendBlockChain(in.request.target_model, in.request.cache_salt, tokens.Prompt(i), block_size_,
                              blocks_max_, window.hashes);
    window.chain_end.push_back(static_cast<uint32_t>(window.hashes.size()));
    const uint64_t last = window.Chain(i).empty() ? 0 : window.Chain(i).back();
    ends.append(reinterpret_cast<const char*>(&last), sizeof last);
  }
  window.prompt = kvindex::ContentHash(ends);
  window.weight = by_tokens_ ? static_cast<double>(tokens.size()) : 1;
}

Status BurstPrefixCacheProducer::Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const {
  auto& match = static_cast<PrefixMatch&>(out);
  Window& window = in.StateOf<Window>(*this);
  if (in.now >= window.end) window.Start(in.now + window_);
  window.counts = false;
  const auto* tokens = in.board.Get<TokenizedPrompt>(tokens_slot_);
  if (tokens == nullptr) return Fail(Code::kInternal, "no tokens to match");
  ReadPrompt(in, *tokens, window);
  match.block_size = block_size_;
  match.total_blocks = static_cast<uint32_t>(window.hashes.size());
  match.match_blocks.assign(in.pool.size(), 0);
  window.counts = !window.hashes.empty() && window.requests < batch_max_;
  if (!window.counts) return {};
  const uint32_t row = Place(in, candidates, window);
  if (row != kNobody) match.match_blocks[row] = static_cast<float>(match.total_blocks);
  return {};
}

// Where a request of this prompt should go; nobody when the window had none like it.
uint32_t BurstPrefixCacheProducer::Place(const DecisionInput& in, const Candidates& candidates, Window& window) const {
  const auto group = window.groups.find(window.prompt);
  if (group == window.groups.end()) return SharingMost(in, candidates, window);
  const std::span<const uint32_t> rows = candidates.rows();
  for (const Group::Placed& placed : group->second.placed) {
    const uint32_t row = in.pool.members->RowOf(placed.id);
    const bool candidate = row != model::PoolMembers::kNoRow && std::binary_search(rows.begin(), rows.end(), row);
    if (candidate && placed.requests < per_replica_max_) return row;
  }
  return LeastLoaded(in, candidates, window, group->second);
}

// The endpoint that was sent the longest part of this prompt, unless it has more than its share of the window already.
uint32_t BurstPrefixCacheProducer::SharingMost(const DecisionInput& in, const Candidates& candidates,
                                               Window& window) const {
  window.matches.Clear();
  if (colocate_blocks_min_ == 0) return kNobody;
  for (size_t i = 0; i < window.chain_end.size(); ++i) window.index.Lookup(window.Chain(i), window.matches);
  // Requests are counted whole: a share of 1.5 of them means two.
  const double even = (window.load + window.weight) / static_cast<double>(candidates.size());
  const double share = by_tokens_ ? even : std::ceil(even);
  uint32_t best = kNobody;
  size_t most = colocate_blocks_min_ - 1;
  for (const uint32_t row : candidates.rows()) {
    const model::EndpointId id = in.pool.id(row);
    if (id.slot >= window.matches.blocks_by_slot.size() || window.LoadOf(id) >= share) continue;
    const size_t blocks = window.matches.blocks_by_slot[id.slot];
    if (blocks < most || (blocks == most && (best == kNobody || !Better(in, window, row, best)))) continue;
    most = blocks;
    best = row;
  }
  return best;
}

// Upstream's order of endpoints: fewest placed in this window, then fewest running, then by name.
bool BurstPrefixCacheProducer::Better(const DecisionInput& in, const Window& window, uint32_t a, uint32_t b) {
  const double load_a = window.LoadOf(in.pool.id(a)), load_b = window.LoadOf(in.pool.id(b));
  if (load_a != load_b) return load_a < load_b;
  if (in.pool.running[a] != in.pool.running[b]) return in.pool.running[a] < in.pool.running[b];
  return in.pool.endpoint(a).id < in.pool.endpoint(b).id;
}

uint32_t BurstPrefixCacheProducer::LeastLoaded(const DecisionInput& in, const Candidates& candidates,
                                               const Window& window, const Group& group) const {
  uint32_t best = kNobody, best_of_all = kNobody;
  for (const uint32_t row : candidates.rows()) {
    if (best_of_all == kNobody || Better(in, window, row, best_of_all)) best_of_all = row;
    if (group.On(in.pool.id(row)) >= per_replica_max_) continue;
    if (best == kNobody || Better(in, window, row, best)) best = row;
  }
  return best != kNobody ? best : best_of_all;  // more requests than all endpoints may have: spread the rest
}

void BurstPrefixCacheProducer::OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket&) const {
  Window& window = in.StateOf<Window>(*this);
  if (!window.counts) return;
  window.counts = false;
  model::EndpointId id = decision.pick().id;
  for (const model::ProfileTargets& profile : decision.profiles) {
    if (profile.profile == "prefill") id = profile.targets.front().id;  // that is where the prompt is computed
  }
  ++window.requests;
  window.load += window.weight;
  if (id.slot >= window.load_by_slot.size()) window.load_by_slot.resize(id.slot + 1);
  window.load_by_slot[id.slot] += window.weight;
  Group& group = window.groups[window.prompt];
  const auto placed = std::find_if(group.placed.begin(), group.placed.end(), [&](const auto& p) { return p.id == id; });
  if (placed != group.placed.end()) {
    ++placed->requests;
  } else {
    group.placed.push_back({id, 1});
  }
  if (colocate_blocks_min_ == 0) return;
  for (size_t i = 0; i < window.chain_end.size(); ++i) {
    window.index.Insert(id, window.Chain(i), std::numeric_limits<uint32_t>::max());
  }
}

}  // namespace sluice::schedule

#include "schedule/plugins/filter/prefix_cache_affinity_filter.h"

#include <algorithm>
#include <limits>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr std::string_view kSources[] = {"prefillThroughput", "latencyPredictor"};

constexpr ParamSpec kParams[] = {
    {.name = "affinityThreshold",
     .type = ParamType::kNumber,
     .fallback = "0.8",
     .max = 1,
     .help = "share of the prompt that an endpoint must hold to be kept; 0 and below: all are kept"},
    {.name = "explorationProbability",
     .type = ParamType::kNumber,
     .fallback = "0",
     .min = 0,
     .max = 1,
     .help = "how often all are kept regardless"},
    {.name = "maxTTFTPenaltyMs",
     .type = ParamType::kNumber,
     .fallback = "18000",
     .min = 0,
     .help = "how much later than the others the holders may answer; 0: any time"},
    {.name = "ttftSource",
     .type = ParamType::kString,
     .fallback = "prefillThroughput",
     .help = "prefillThroughput (tokens in flight) or latencyPredictor"},
    {.name = "peakPrefillThroughput",
     .type = ParamType::kNumber,
     .fallback = "15928",
     .min = 1e-3,
     .help = "prompt tokens a second of one endpoint, for prefillThroughput"},
    {.name = "prefixMatchInfoProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default approx-prefix-cache-producer"},
};

}  // namespace

constinit const PluginInfo PrefixCacheAffinityFilter::kInfo = {
    .type = "prefix-cache-affinity-filter",
    .help =
        "Keeps endpoints that hold at least a share of the prompt; all when there is none, or when the quickest of "
        "them would give the first token much later than the quickest other.",
    .params = kParams,
    .make = MakeChecked<PrefixCacheAffinityFilter>};

PrefixCacheAffinityFilter::PrefixCacheAffinityFilter(const PluginInfo& info, std::string name, const Params& params,
                                                     codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      threshold_(params.Number("affinityThreshold")),
      exploration_(params.Number("explorationProbability")),
      penalty_ms_(params.Number("maxTTFTPenaltyMs")),
      tokens_per_ms_(params.Number("peakPrefillThroughput") / 1000),
      predicted_(params.String("ttftSource") == kSources[1]),
      producer_(params.String("prefixMatchInfoProducerName")) {
  const std::string& source = params.String("ttftSource");
  if (std::find(std::begin(kSources), std::end(kSources), source) == std::end(kSources)) {
    problems.Error(
        params.line(), params.path() + ".ttftSource",
        "expected prefillThroughput or latencyPredictor, got \"" + source + "\"" + DidYouMean(source, kSources));
  }
}

std::vector<Need> PrefixCacheAffinityFilter::Needs() const {
  std::vector<Need> needs = {{DataKind::kPrefixMatch, producer_}};
  if (penalty_ms_ > 0) needs.push_back({predicted_ ? DataKind::kLatencyPrediction : DataKind::kInflightLoad, ""});
  return needs;
}

void PrefixCacheAffinityFilter::Bind(std::span<const int> slots) {
  match_slot_ = slots[0];
  if (slots.size() > 1) ttft_slot_ = slots[1];
}

void PrefixCacheAffinityFilter::Keep(const DecisionInput& in, const Candidates& candidates,
                                     std::span<uint8_t> keep) const {
  if (keep.size() <= 1 || threshold_ <= 0) return;
  if (exploration_ > 0 && in.rng.Uniform() < exploration_) return;
  const auto* match = in.board.Get<PrefixMatch>(match_slot_);
  if (match == nullptr || match->total_blocks == 0) return;
  // As the ratio of two doubles, so that 4 of 5 blocks are 0.8 to the last bit.
  const double total = match->total_blocks;
  size_t sticky = 0;
  for (size_t i = 0; i < keep.size(); ++i) {
    keep[i] = static_cast<double>(match->match_blocks[candidates.row(i)]) / total >= threshold_;
    sticky += keep[i];
  }
  const bool narrows = sticky > 0 && sticky < keep.size();
  if (!narrows || (penalty_ms_ > 0 && !WorthWaiting(in, candidates, keep))) std::fill(keep.begin(), keep.end(), 1);
}

// Whether the quickest holder is not more than the penalty behind the quickest other. Where one side's time is not
// known, nothing speaks for narrowing the choice.
bool PrefixCacheAffinityFilter::WorthWaiting(const DecisionInput& in, const Candidates& candidates,
                                             std::span<const uint8_t> sticky) const {
  float best[2] = {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()};
  for (size_t i = 0; i < sticky.size(); ++i) {
    const float ttft = TtftMs(in, candidates.row(i));
    if (ttft < best[sticky[i]]) best[sticky[i]] = ttft;
  }
  if (best[0] == std::numeric_limits<float>::infinity() || best[1] == std::numeric_limits<float>::infinity()) {
    return false;
  }
  return double{best[1]} - double{best[0]} <= penalty_ms_;
}

// NaN: not known.
float PrefixCacheAffinityFilter::TtftMs(const DecisionInput& in, uint32_t row) const {
  if (predicted_) {
    const auto* prediction = in.board.Get<LatencyPrediction>(ttft_slot_);
    return prediction != nullptr ? prediction->ttft_ms[row] : std::numeric_limits<float>::quiet_NaN();
  }
  const auto* load = in.board.Get<InflightLoad>(ttft_slot_);
  if (load == nullptr) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(load->tokens[row] / tokens_per_ms_);
}

}  // namespace sluice::schedule

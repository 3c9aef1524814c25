#include "schedule/plugins/score/latency_scorer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "ttftWeight", .type = ParamType::kNumber, .fallback = "0.8", .min = 0, .help = "of the first token"},
    {.name = "tpotWeight", .type = ParamType::kNumber, .fallback = "0.2", .min = 0, .help = "of the tokens after it"},
    {.name = "headroomSelectionStrategy",
     .type = ParamType::kString,
     .fallback = "least",
     .help = "among endpoints that are quick enough: `least` fills those that just are, `most` takes the quickest"},
    {.name = "compositeKVWeight",
     .type = ParamType::kNumber,
     .fallback = "1",
     .min = 0,
     .help = "without predictions: of the free KV cache"},
    {.name = "compositeQueueWeight",
     .type = ParamType::kNumber,
     .fallback = "1",
     .min = 0,
     .help = "without predictions: of the short queue"},
    {.name = "compositePrefixWeight",
     .type = ParamType::kNumber,
     .fallback = "1",
     .min = 0,
     .help = "without predictions: of the cached prefix"},
    {.name = "latencyPredictionInfoProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default predicted-latency-producer"},
    {.name = "prefixMatchInfoProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default approx-prefix-cache-producer"},
};

constexpr std::string_view kStrategies[] = {"least", "most"};
constexpr double kFlat = 1e-9;  // a range up to this is none

// The absolute headrooms of one dimension over the endpoints that are compared.
struct Span {
  double min = std::numeric_limits<double>::max();
  double max = -std::numeric_limits<double>::max();
  void Add(double headroom) {
    min = std::min(min, std::abs(headroom));
    max = std::max(max, std::abs(headroom));
  }
  bool flat() const { return max - min <= kFlat; }
  double Share(double headroom) const { return flat() ? 0.5 : (std::abs(headroom) - min) / (max - min); }
};

}  // namespace

constinit const PluginInfo LatencyScorer::kInfo = {
    .type = "latency-scorer",
    .help =
        "Where predictions leave headroom to the request's limits: by headroom, the rest 0. Where none does: only "
        "the idle, else those that miss only the later tokens, else only the first token, else both; the smallest "
        "miss first. Without predictions: free KV cache, short queue and cached prefix, by their weights.",
    .params = kParams,
    .make = MakeChecked<LatencyScorer>};

LatencyScorer::LatencyScorer(const PluginInfo& info, std::string name, const Params& params,
                             codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      ttft_weight_(params.Number("ttftWeight")),
      tpot_weight_(params.Number("tpotWeight")),
      most_(params.String("headroomSelectionStrategy") == "most"),
      kv_weight_(params.Number("compositeKVWeight")),
      queue_weight_(params.Number("compositeQueueWeight")),
      prefix_weight_(params.Number("compositePrefixWeight")),
      latency_producer_(params.String("latencyPredictionInfoProducerName")),
      prefix_producer_(params.String("prefixMatchInfoProducerName")) {
  const std::string& strategy = params.String("headroomSelectionStrategy");
  if (std::find(std::begin(kStrategies), std::end(kStrategies), strategy) == std::end(kStrategies)) {
    problems.Error(params.line(), params.path() + ".headroomSelectionStrategy",
                   "expected least or most, got \"" + strategy + "\"" + DidYouMean(strategy, kStrategies));
  }
  const double sum = ttft_weight_ + tpot_weight_;
  ttft_weight_ = sum > 0 ? ttft_weight_ / sum : 1;
  tpot_weight_ = sum > 0 ? tpot_weight_ / sum : 0;
  const double composite = kv_weight_ + queue_weight_ + prefix_weight_;
  kv_weight_ = composite > 0 ? kv_weight_ / composite : 1;
  queue_weight_ = composite > 0 ? queue_weight_ / composite : 0;
  prefix_weight_ = composite > 0 ? prefix_weight_ / composite : 0;
}

void LatencyScorer::Bind(std::span<const int> slots) {
  latency_slot_ = slots[0];
  prefix_slot_ = slots[1];
}

LatencyScorer::Class LatencyScorer::ClassOf(const LatencyPrediction& prediction, uint32_t row) {
  const float ttft = prediction.ttft_headroom_ms[row], tpot = prediction.tpot_headroom_ms[row];
  if (std::isnan(ttft) || std::isnan(tpot)) return Class::kNone;
  if (ttft >= 0 && tpot >= 0) return Class::kFits;
  if (prediction.dispatched[row] == 0) return Class::kIdle;
  if (ttft >= 0) return Class::kSlowTokens;
  return tpot >= 0 ? Class::kSlowFirst : Class::kSlowBoth;
}

struct LatencyScorer::Classes final : PluginState {
  std::vector<Class> list;  // by candidate
};

std::shared_ptr<PluginState> LatencyScorer::MakeState(const StateOptions&) const { return std::make_shared<Classes>(); }

void LatencyScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const auto* prediction = in.board.Get<LatencyPrediction>(latency_slot_);
  if (prediction == nullptr) return ScoreComposite(in, candidates, out);
  std::vector<Class>& classes = in.StateOf<Classes>(*this).list;
  classes.resize(out.size());
  Class best = Class::kNone;
  for (size_t i = 0; i < out.size(); ++i) {
    classes[i] = ClassOf(*prediction, candidates.row(i));
    best = std::min(best, classes[i]);
  }
  if (best == Class::kNone) return ScoreComposite(in, candidates, out);
  ScoreClass(*prediction, candidates, classes, best, out);
}

void LatencyScorer::ScoreClass(const LatencyPrediction& prediction, const Candidates& candidates,
                               std::span<const Class> classes, Class chosen, std::span<float> out) const {
  Span ttft, tpot;
  for (size_t i = 0; i < out.size(); ++i) {
    if (classes[i] != chosen) continue;
    ttft.Add(prediction.ttft_headroom_ms[candidates.row(i)]);
    tpot.Add(prediction.tpot_headroom_ms[candidates.row(i)]);
  }
  // A dimension in which all are equal says nothing: the other has all the weight.
  double alpha = ttft_weight_, beta = tpot_weight_;
  if (ttft.flat() != tpot.flat()) {
    alpha = ttft.flat() ? 0 : 1;
    beta = 1 - alpha;
  }
  const bool most = most_ && chosen == Class::kFits;  // of misses the smallest is always the best
  for (size_t i = 0; i < out.size(); ++i) {
    if (classes[i] != chosen) {
      out[i] = classes[i] == Class::kNone ? std::numeric_limits<float>::quiet_NaN() : 0;
      continue;
    }
    const uint32_t row = candidates.row(i);
    const double combined =
        alpha * ttft.Share(prediction.ttft_headroom_ms[row]) + beta * tpot.Share(prediction.tpot_headroom_ms[row]);
    const int hundredths = static_cast<int>((most ? combined : 1 - combined) * 100) + 1;
    out[i] = static_cast<float>(hundredths / 100.0);
  }
}

void LatencyScorer::ScoreComposite(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const std::span<const float> waiting = candidates.waiting();
  const std::span<const float> usage = candidates.kv_usage();
  const auto* match = in.board.Get<PrefixMatch>(prefix_slot_);
  const double blocks = match != nullptr ? match->total_blocks : 0;
  float longest = 0;
  for (const float queue : waiting) longest = std::max(longest, queue);
  for (size_t i = 0; i < out.size(); ++i) {
    const double queue = longest > 0 ? (longest - waiting[i]) / longest : 1;
    const double prefix = blocks > 0 ? match->match_blocks[candidates.row(i)] / blocks : 0;
    const double composite = kv_weight_ * (1 - usage[i]) + queue_weight_ * queue + prefix_weight_ * prefix;
    out[i] = static_cast<float>(std::round(100 * composite) / 100);
  }
}

}  // namespace sluice::schedule

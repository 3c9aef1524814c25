#include "schedule/plugins/filter/slo_headroom_tier_filter.h"

#include <algorithm>

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "epsilonExploreNeg",
     .type = ParamType::kNumber,
     .fallback = "0.01",
     .min = 0,
     .max = 1,
     .help = "how often the endpoints that are expected to miss a limit are kept instead, to keep learning of them"},
};

}  // namespace

constinit const PluginInfo SloHeadroomTierFilter::kInfo = {
    .type = "slo-headroom-tier-filter",
    .help =
        "Keeps endpoints with headroom to both latency limits; the others when there are none, and now and then by "
        "chance. Endpoints without a prediction count as without headroom; all are kept when none has one.",
    .params = kParams,
    .make = MakeWithParams<SloHeadroomTierFilter>};

void SloHeadroomTierFilter::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  const auto* prediction = in.board.Get<LatencyPrediction>(slot_);
  if (prediction == nullptr) return;
  size_t positive = 0, predicted = 0;
  for (size_t i = 0; i < keep.size(); ++i) {
    const uint32_t row = candidates.row(i);
    const float ttft = prediction->ttft_headroom_ms[row], tpot = prediction->tpot_headroom_ms[row];
    predicted += ttft == ttft || tpot == tpot;
    keep[i] = ttft >= 0 && tpot >= 0;
    positive += keep[i];
  }
  if (predicted == 0 || positive == 0) {
    std::fill(keep.begin(), keep.end(), 1);
    return;
  }
  if (positive == keep.size() || in.rng.Uniform() >= explore_) return;
  for (uint8_t& kept : keep) kept = !kept;
}

}  // namespace sluice::schedule

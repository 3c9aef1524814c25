#include "schedule/plugins/admit/utilization_detector.h"

#include <algorithm>

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "queueDepthThreshold",
     .type = ParamType::kInt,
     .fallback = "5",
     .min = 1,
     .max = 1e12,
     .help = "waiting requests at which an endpoint is full"},
    {.name = "kvCacheUtilThreshold",
     .type = ParamType::kNumber,
     .fallback = "0.8",
     .min = 1e-6,
     .max = 1,
     .help = "share of the KV cache in use at which an endpoint is full"},
    {.name = "metricsStalenessThreshold",
     .type = ParamType::kDuration,
     .fallback = "200ms",
     .help = "metrics older than this count as full"},
    {.name = "headroom",
     .type = ParamType::kNumber,
     .fallback = "0",
     .min = 0,
     .max = 1e6,
     .help = "as a filter, how far above the thresholds an endpoint is kept; 0.2 is a fifth"},
};

}  // namespace

constinit const PluginInfo UtilizationDetector::kInfo = {
    .type = "utilization-detector",
    .help =
        "Saturation is the mean over the endpoints of the fuller of queue and KV cache, each divided by its "
        "threshold; 1 for endpoints with old metrics. As a filter keeps endpoints with fresh metrics below both "
        "thresholds, or all when there is none.",
    .params = kParams,
    .make = MakeChecked<UtilizationDetector>};

UtilizationDetector::UtilizationDetector(const PluginInfo& info, std::string name, const Params& params,
                                         codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      queue_max_(static_cast<double>(params.Int("queueDepthThreshold"))),
      kv_max_(params.Number("kvCacheUtilThreshold")),
      stale_after_(params.DurationOf("metricsStalenessThreshold")),
      headroom_(params.Number("headroom")) {
  if (stale_after_ <= Duration(0)) {
    problems.Error(params.line(), params.path() + ".metricsStalenessThreshold", "must be more than 0");
  }
}

bool UtilizationDetector::Fresh(const DecisionInput& in, uint32_t row) const {
  const TimePoint scraped = in.pool.scraped_at[row];
  return scraped != model::EndpointState::kNever && in.now - scraped <= stale_after_;
}

double UtilizationDetector::Saturation(const DecisionInput& in, const Candidates& candidates) const {
  if (candidates.empty()) return 1;
  double sum = 0;
  for (const uint32_t row : candidates.rows()) {
    const double queue = in.pool.waiting[row] / queue_max_, kv = in.pool.kv_usage[row] / kv_max_;
    sum += Fresh(in, row) ? std::max(queue, kv) : 1;
  }
  return sum / static_cast<double>(candidates.size());
}

void UtilizationDetector::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  const double queue_limit = queue_max_ * (1 + headroom_);
  const double kv_limit = std::min(1.0, kv_max_ * (1 + headroom_));
  size_t kept = 0;
  for (size_t i = 0; i < keep.size(); ++i) {
    const uint32_t row = candidates.row(i);
    // The KV limit in float, as the column is: a cache at exactly 0.8 is at the limit.
    keep[i] =
        Fresh(in, row) && in.pool.waiting[row] < queue_limit && in.pool.kv_usage[row] < static_cast<float>(kv_limit);
    kept += keep[i];
  }
  if (kept == 0) std::fill(keep.begin(), keep.end(), 1);
}

}  // namespace sluice::schedule

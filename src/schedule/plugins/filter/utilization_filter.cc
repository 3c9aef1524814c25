#include "schedule/plugins/filter/utilization_filter.h"

#include <algorithm>
#include <array>

#include "schedule/plugins/node_map.h"

namespace sluice::schedule {
namespace {

constexpr std::array<std::string_view, 4> kMetrics = {"active-requests", "running-requests", "waiting-queue",
                                                      "kv-cache-utilization"};

constexpr ParamSpec kParams[] = {
    {.name = "conditions",
     .type = ParamType::kNode,
     .help = "list of {metric: active-requests|running-requests|waiting-queue|kv-cache-utilization, maxValue}",
     .required = true},
    {.name = "fallbackOnEmpty",
     .type = ParamType::kBool,
     .fallback = "false",
     .help = "keep all when the conditions drop all"},
    {.name = "inFlightLoadProducerName",
     .type = ParamType::kString,
     .help = "instance that active-requests reads from; default inflight-load-producer"},
};

}  // namespace

constinit const PluginInfo UtilizationFilter::kInfo = {
    .type = "utilization-filter",
    .stability = Stability::kAlpha,
    .help = "Keeps endpoints whose load figures are all at most their limits; a figure that is not known counts as 0.",
    .params = kParams,
    .make = MakeChecked<UtilizationFilter>};

UtilizationFilter::UtilizationFilter(const PluginInfo& info, std::string name, const Params& params,
                                     codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      fallback_on_empty_(params.Bool("fallbackOnEmpty")),
      producer_(params.String("inFlightLoadProducerName")) {
  const codec::yaml::Node map = NodeMap(params, {"conditions"});
  codec::yaml::MapReader reader(map, params.path(), problems);
  reader.Each("conditions", [&](const codec::yaml::Node& node, const std::string& path) {
    codec::yaml::MapReader item(node, path, problems);
    const std::string metric = item.Choice("metric", std::string(kMetrics[0]), kMetrics);
    const auto at = std::find(kMetrics.begin(), kMetrics.end(), metric);
    const auto which = static_cast<Metric>(at - kMetrics.begin());
    codec::yaml::NumberRange range{.min = 0};
    if (which == Metric::kKvCache) range.max = 1;
    conditions_.push_back({which, static_cast<float>(item.Number("maxValue", 0, range))});
    for (const std::string_view field : {"metric", "maxValue"}) {
      if (!item.Has(field)) item.Error(field, "is required and missing");
    }
    item.Finish();
  });
  if (params.IsSet("conditions") && conditions_.empty()) reader.Error("conditions", "must have at least one condition");
}

std::vector<Need> UtilizationFilter::Needs() const {
  const bool active = std::any_of(conditions_.begin(), conditions_.end(),
                                  [](const Condition& condition) { return condition.metric == Metric::kActive; });
  if (!active) return {};
  return {{DataKind::kInflightLoad, producer_}};
}

void UtilizationFilter::Bind(std::span<const int> slots) {
  if (!slots.empty()) load_slot_ = slots[0];
}

void UtilizationFilter::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  const auto cap = [&](std::span<const float> values, float max) {
    for (size_t i = 0; i < keep.size(); ++i) keep[i] &= static_cast<uint8_t>(!(values[i] > max));
  };
  for (const Condition& condition : conditions_) {
    switch (condition.metric) {
      case Metric::kActive:
        if (const auto* load = in.board.Get<InflightLoad>(load_slot_)) {
          cap(candidates.Gather(load->requests), condition.max);
        }
        break;
      case Metric::kRunning:
        cap(candidates.running(), condition.max);
        break;
      case Metric::kWaiting:
        cap(candidates.waiting(), condition.max);
        break;
      case Metric::kKvCache:
        cap(candidates.kv_usage(), condition.max);
        break;
    }
  }
  if (fallback_on_empty_ && std::find(keep.begin(), keep.end(), 1) == keep.end()) {
    std::fill(keep.begin(), keep.end(), 1);
  }
}

}  // namespace sluice::schedule

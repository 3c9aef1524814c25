#include "schedule/plugins/flow/flow_policies.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr ParamSpec kProgramAware[] = {
    {.name = "strategy", .type = ParamType::kString, .fallback = "las", .help = "las: least attained service"},
    {.name = "evictionTtlSeconds",
     .type = ParamType::kInt,
     .fallback = "3600",
     .min = 0,
     .max = 1e9,
     .help = "an idle program is forgotten after this"},
    {.name = "evictionSweepSeconds",
     .type = ParamType::kInt,
     .fallback = "300",
     .min = 1,
     .max = 1e9,
     .help = "how often idle programs are looked for"},
    {.name = "lasWeightService",
     .type = ParamType::kNumber,
     .fallback = "0.8",
     .min = 0,
     .max = 1e6,
     .help = "weight of the service that a program got"},
    {.name = "lasWeightHeadWait",
     .type = ParamType::kNumber,
     .fallback = "0.2",
     .min = 0,
     .max = 1e6,
     .help = "weight of the wait of its first request"},
    {.name = "lasHalfLifeSeconds",
     .type = ParamType::kNumber,
     .fallback = "60",
     .min = 0,
     .max = 1e9,
     .help = "after which service counts half; 0: it does not fade"},
};
constexpr ParamSpec kStaticLimit[] = {
    {.name = "threshold",
     .type = ParamType::kNumber,
     .fallback = "1.0",
     .min = 0,
     .max = 1e6,
     .help = "saturation from which nothing is dispatched"},
};
constexpr ParamSpec kHoldback[] = {
    {.name = "minCeiling",
     .type = ParamType::kNumber,
     .fallback = "0",
     .min = 0,
     .max = 1,
     .help = "ceiling of the lowest priority, below 1",
     .required = true},
    {.name = "maxCeiling",
     .type = ParamType::kNumber,
     .fallback = "1.0",
     .min = 0,
     .max = 1,
     .help = "ceiling of the highest priority"},
    {.name = "shape", .type = ParamType::kString, .fallback = "linear", .help = "linear"},
    {.name = "domain",
     .type = ParamType::kString,
     .fallback = "rank",
     .help = "rank: equal steps from priority to priority; value: in proportion to the priorities"},
};

constexpr std::array<std::string_view, 1> kStrategies = {"las"};
constexpr std::array<std::string_view, 1> kShapes = {"linear"};
constexpr std::array<std::string_view, 2> kDomains = {"rank", "value"};

constexpr PluginInfo Type(std::string_view type, std::string_view help, std::span<const ParamSpec> params = {},
                          Stability stability = Stability::kBeta) {
  return {.type = type, .stability = stability, .help = help, .params = params, .make = MakeChecked<FlowPolicy>};
}

constexpr std::array kTypes = {
    Type("fcfs-ordering-policy", "Flow control: the request that came first goes first."),
    Type("edf-ordering-policy", "Flow control: the request whose time to live ends first goes first."),
    Type("slo-deadline-ordering-policy", "Flow control: the request whose TTFT objective is due first goes first."),
    Type("global-strict-fairness-policy", "Flow control: the best request of all flows, without fairness."),
    Type("round-robin-fairness-policy", "Flow control: flows in turn."),
    Type("program-aware-fairness", "Flow control: programs that got the least service go first.", kProgramAware),
    Type("static-usage-limit-policy", "Flow control: one saturation limit for all priorities.", kStaticLimit),
    Type("priority-holdback-policy", "Flow control: lower priorities stop at a lower saturation.", kHoldback,
         Stability::kAlpha),
    Type("soft-reflective-ceiling-policy", "Flow control: lower priorities are throttled more the fuller the pool.", {},
         Stability::kAlpha),
    Type("sheddable-eviction-filter", "Flow control: requests of negative priority may be evicted.", {},
         Stability::kAlpha),
    Type("priority-then-time-eviction-order-policy",
         "Flow control: the lowest priority is evicted first, then the latest dispatched.", {}, Stability::kAlpha),
};
using Kind = FlowPolicy::Kind;
constexpr std::array<Kind, kTypes.size()> kKinds = {
    Kind::kOrdering,   Kind::kOrdering,   Kind::kOrdering,   Kind::kFairness, Kind::kFairness, Kind::kFairness,
    Kind::kUsageLimit, Kind::kUsageLimit, Kind::kUsageLimit, Kind::kEviction, Kind::kEviction};

void CheckChoice(const Params& params, std::string_view field, std::span<const std::string_view> choices,
                 codec::yaml::Problems& problems) {
  const std::string& value = params.String(field);
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  std::string list;
  for (const std::string_view choice : choices) list += (list.empty() ? "" : " or ") + std::string(choice);
  problems.Error(params.line(), params.path() + "." + std::string(field),
                 "expected " + list + ", got \"" + value + "\"" + DidYouMean(value, choices));
}

}  // namespace

std::span<const PluginInfo> FlowPolicy::Types() { return kTypes; }

std::string_view FlowPolicy::Name(Kind kind) {
  switch (kind) {
    case Kind::kOrdering:
      return "ordering policy";
    case Kind::kFairness:
      return "fairness policy";
    case Kind::kUsageLimit:
      return "usage limit policy";
    case Kind::kEviction:
      return "eviction policy";
  }
  return "";
}

std::optional<FlowPolicy::Kind> FlowPolicy::KindOf(std::string_view type) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].type == type) return kKinds[i];
  }
  return std::nullopt;
}

FlowPolicy::FlowPolicy(const PluginInfo& info, std::string name, const Params& params, codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)) {
  if (info.params.data() == kProgramAware) CheckChoice(params, "strategy", kStrategies, problems);
  if (info.params.data() != kHoldback) return;
  CheckChoice(params, "shape", kShapes, problems);
  CheckChoice(params, "domain", kDomains, problems);
  const double low = params.Number("minCeiling"), high = params.Number("maxCeiling");
  if (low >= 1 || low > high) {
    problems.Error(params.line(), params.path() + ".minCeiling", "must be below 1 and not above maxCeiling");
  }
}

}  // namespace sluice::schedule

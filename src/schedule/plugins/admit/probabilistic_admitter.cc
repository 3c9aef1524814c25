#include "schedule/plugins/admit/probabilistic_admitter.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace sluice::schedule {
namespace {

constexpr ParamSpec kParams[] = {
    {.name = "queueDepthThreshold",
     .type = ParamType::kNumber,
     .fallback = "5",
     .min = 1e-6,
     .help = "waiting requests at which an endpoint is full"},
    {.name = "kvCacheUtilThreshold",
     .type = ParamType::kNumber,
     .fallback = "0.8",
     .min = 1e-6,
     .max = 1,
     .help = "share of the KV cache in use at which an endpoint is full"},
    {.name = "power",
     .type = ParamType::kNumber,
     .fallback = "5",
     .min = 1e-6,
     .max = 1000,
     .help = "how suddenly refusal begins"},
    {.name = "k",
     .type = ParamType::kNumber,
     .fallback = "300",
     .min = 1e-6,
     .help = "when refusal begins; from the saturation (1/k)^(1/power) on all are refused"},
};

}  // namespace

constinit const PluginInfo ProbabilisticAdmitter::kInfo = {
    .type = "probabilistic-admitter",
    .help =
        "Refuses requests of negative priority with probability k x saturation^power. Saturation is the mean over "
        "the endpoints of the fuller of queue and KV cache, each divided by its threshold; 1 for endpoints that "
        "were never scraped.",
    .params = kParams,
    .make = MakeWithParams<ProbabilisticAdmitter>};

ProbabilisticAdmitter::ProbabilisticAdmitter(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      queue_max_(params.Number("queueDepthThreshold")),
      kv_max_(params.Number("kvCacheUtilThreshold")),
      power_(params.Number("power")),
      factor_(params.Number("k")) {}

Status ProbabilisticAdmitter::Admit(const DecisionInput& in, const Candidates& candidates) const {
  if (in.request.priority >= 0 || candidates.empty()) return {};
  double sum = 0;
  for (const uint32_t row : candidates.rows()) {
    const bool known = in.pool.scraped_at[row] != model::EndpointState::kNever;
    sum += known ? std::max(in.pool.waiting[row] / queue_max_, in.pool.kv_usage[row] / kv_max_) : 1;
  }
  const double saturation = sum / static_cast<double>(candidates.size());
  const double chance = std::min(1.0, std::pow(saturation, power_) * factor_);
  if (in.rng.Uniform() >= chance) return {};
  char text[96];
  std::snprintf(text, sizeof text, "shed at saturation %.3f, where %.1f %% of sheddable requests are", saturation,
                chance * 100);
  return Fail(Code::kResourceExhausted, text);
}

}  // namespace sluice::schedule

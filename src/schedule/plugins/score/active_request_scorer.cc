#include "schedule/plugins/score/active_request_scorer.h"

#include <algorithm>

#include "schedule/columns.h"

namespace sluice::schedule {
namespace {
constexpr ParamSpec kParams[] = {
    {.name = "idleThreshold",
     .type = ParamType::kInt,
     .fallback = "0",
     .min = 0,
     .max = 1e9,
     .help = "requests in flight up to which an endpoint counts as idle"},
    {.name = "maxBusyScore",
     .type = ParamType::kNumber,
     .fallback = "1.0",
     .min = 0,
     .max = 1,
     .help = "what the least busy of the busy can reach"},
    {.name = "inFlightLoadProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default inflight-load-producer"},
    {.name = "requestTimeout",
     .type = ParamType::kDuration,
     .fallback = "0s",
     .warn_when_set = "has no effect: requests are counted until they end"},
};
}  // namespace

constinit const PluginInfo ActiveRequestScorer::kInfo = {
    .type = "active-request-scorer",
    .help = "1 up to idleThreshold requests in flight, otherwise (max - c) / max * maxBusyScore.",
    .params = kParams,
    .make = MakeWithParams<ActiveRequestScorer>};

ActiveRequestScorer::ActiveRequestScorer(const PluginInfo& info, std::string name, const Params& params)
    : Plugin(info, std::move(name)),
      idle_threshold_(static_cast<float>(params.Int("idleThreshold"))),
      max_busy_score_(static_cast<float>(params.Number("maxBusyScore"))),
      producer_(params.String("inFlightLoadProducerName")) {}

void ActiveRequestScorer::Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const {
  const auto* load = in.board.Get<InflightLoad>(slot_);
  if (load == nullptr) {
    std::fill(out.begin(), out.end(), 0.0f);
    return;
  }
  const std::span<const float> requests = candidates.Gather(load->requests);
  const float most = requests.empty() ? 0 : MaxOf(requests);
  const float idle = idle_threshold_, busy = max_busy_score_;
  for (size_t i = 0; i < out.size(); ++i) {
    const float score = (most - requests[i]) / most * busy;  // computed for all, so that the loop has no branch
    out[i] = requests[i] <= idle ? 1 : score;
  }
}

}  // namespace sluice::schedule

#include "schedule/plugins/admit/concurrency_detector.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr std::array<std::string_view, 3> kModes = {"requests", "tokens", "hybrid"};

constexpr ParamSpec kParams[] = {
    {.name = "maxConcurrency",
     .type = ParamType::kInt,
     .fallback = "100",
     .min = 1,
     .max = 1e12,
     .help = "requests in flight at which an endpoint is full"},
    {.name = "maxTokenConcurrency",
     .type = ParamType::kInt,
     .fallback = "1000000",
     .min = 1,
     .max = 1e15,
     .help = "tokens in flight at which an endpoint is full"},
    {.name = "concurrencyMode",
     .type = ParamType::kString,
     .fallback = "requests",
     .help = "what counts: requests, tokens, or hybrid (whichever is fuller)"},
    {.name = "headroom",
     .type = ParamType::kNumber,
     .fallback = "0",
     .min = 0,
     .max = 1e6,
     .help = "as a filter, how far above its capacity an endpoint is kept; 0.2 is a fifth"},
    {.name = "inFlightLoadProducerName",
     .type = ParamType::kString,
     .help = "instance to read from; default inflight-load-producer"},
};

}  // namespace

constinit const PluginInfo ConcurrencyDetector::kInfo = {
    .type = "concurrency-detector",
    .help =
        "Saturation is what is in flight divided by what the endpoints can take; in hybrid mode the mean over the "
        "endpoints of the fuller of requests and tokens. As a filter keeps endpoints below their capacity; none "
        "when all are full.",
    .params = kParams,
    .make = MakeChecked<ConcurrencyDetector>};

ConcurrencyDetector::ConcurrencyDetector(const PluginInfo& info, std::string name, const Params& params,
                                         codec::yaml::Problems& problems)
    : Plugin(info, std::move(name)),
      requests_max_(static_cast<double>(params.Int("maxConcurrency"))),
      tokens_max_(static_cast<double>(params.Int("maxTokenConcurrency"))),
      headroom_(params.Number("headroom")),
      producer_(params.String("inFlightLoadProducerName")) {
  const std::string& mode = params.String("concurrencyMode");
  const auto at = std::find(kModes.begin(), kModes.end(), mode);
  if (at == kModes.end()) {
    problems.Error(params.line(), params.path() + ".concurrencyMode",
                   "expected requests, tokens or hybrid, got \"" + mode + "\"" + DidYouMean(mode, kModes));
    return;
  }
  mode_ = static_cast<Mode>(at - kModes.begin());
}

double ConcurrencyDetector::LoadOf(const InflightLoad& load, uint32_t row) const {
  const double requests = load.requests[row] / requests_max_, tokens = load.tokens[row] / tokens_max_;
  if (mode_ == Mode::kRequests) return requests;
  return mode_ == Mode::kTokens ? tokens : std::max(requests, tokens);
}

double ConcurrencyDetector::Saturation(const DecisionInput& in, const Candidates& candidates) const {
  if (candidates.empty()) return 1;
  const auto* load = in.board.Get<InflightLoad>(slot_);
  if (load == nullptr) return 0;
  // Capacities are equal, so the sum of loads over the sum of capacities is the mean in every mode.
  double sum = 0;
  for (const uint32_t row : candidates.rows()) sum += LoadOf(*load, row);
  return sum / static_cast<double>(candidates.size());
}

void ConcurrencyDetector::Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const {
  const auto* load = in.board.Get<InflightLoad>(slot_);
  if (load == nullptr) return;
  for (size_t i = 0; i < keep.size(); ++i) keep[i] = LoadOf(*load, candidates.row(i)) < 1 + headroom_;
}

}  // namespace sluice::schedule

#include "schedule/plugins/admit/latency_slo_admitter.h"

#include <cmath>

#include "base/text.h"

namespace sluice::schedule {
namespace {

constexpr float kColdKvUsage = 0.02f;

// A limit in milliseconds, by its new name first; not a positive number: none.
bool HasLimit(const model::Request& request, std::string_view name, std::string_view old_name) {
  std::string_view text = request.Header(name);
  if (text.empty()) text = request.Header(old_name);
  const auto limit = ParseNumber<double>(TrimSpace(text));
  return limit && std::isfinite(*limit) && *limit > 0;
}

}  // namespace

constinit const PluginInfo LatencySloAdmitter::kInfo = {
    .type = "latency-slo-admitter",
    .help =
        "Refuses requests of negative priority with x-llm-d-slo-ttft-ms or x-llm-d-slo-tpot-ms when predictions "
        "exist and no endpoint is expected to meet those limits, idle (nothing running) or cold (KV cache below "
        "2 %).",
    .make = MakePlain<LatencySloAdmitter>};

Status LatencySloAdmitter::Admit(const DecisionInput& in, const Candidates& candidates) const {
  if (in.request.priority >= 0) return {};
  const bool ttft_limit = HasLimit(in.request, "x-llm-d-slo-ttft-ms", "x-slo-ttft-ms");
  const bool tpot_limit = HasLimit(in.request, "x-llm-d-slo-tpot-ms", "x-slo-tpot-ms");
  const auto* prediction = in.board.Get<LatencyPrediction>(slot_);
  if ((!ttft_limit && !tpot_limit) || prediction == nullptr) return {};
  size_t predicted = 0;
  for (const uint32_t row : candidates.rows()) {
    if (in.pool.running[row] == 0 || in.pool.kv_usage[row] < kColdKvUsage) return {};
    const float ttft = prediction->ttft_headroom_ms[row], tpot = prediction->tpot_headroom_ms[row];
    if (ttft != ttft && tpot != tpot) continue;
    ++predicted;
    // A limit that was not asked for is not missed; NaN meets none.
    if ((!ttft_limit || ttft > 0) && (!tpot_limit || tpot >= 0)) return {};
  }
  if (predicted == 0) return {};
  return Fail(Code::kResourceExhausted,
              "no endpoint is expected to meet the latency limits: " + std::to_string(predicted) + " of " +
                  std::to_string(candidates.size()) + " have a prediction, none with headroom, idle or cold");
}

}  // namespace sluice::schedule

#include "serving/call_log.h"

#include "schedule/receipt_text.h"

namespace sluice::serving {

using observe::Level;
using observe::Log;

void LogScores(std::string_view pool, const model::Receipt& receipt) {
  if (!observe::Enabled(Level::kInfo, "schedule")) return;
  const schedule::PodScores scores = schedule::PodScoresOf(receipt);
  Log(Level::kInfo, "schedule", "Got pod scores",
      {{"x-request-id", scores.request_id},
       {"model", scores.model},
       {"resolvedTargetModel", scores.resolved_target_model},
       {"criticality", scores.criticality},
       {"pool", pool},
       {"scores", observe::Field::Json{scores.scores_json}}});
}

void CountIncomplete(RouterMetrics& metrics, observe::Every& every, std::string_view module, std::string_view pool,
                     const model::Receipt& receipt) {
  if (receipt.notes.empty()) return;
  metrics.Incomplete(pool);
  if (!every.Due()) return;
  Log(Level::kWarn, module, "a decision was made without all of its data",
      {{"request_id", receipt.request_id}, {"missing", receipt.notes.front()}});
}

void LogAccess(const Access& access) {
  if (!observe::Enabled(access.level, "access")) return;
  const RelayReport& report = access.report;
  const parse::Usage usage = report.usage.value_or(parse::Usage{});
  const auto since_received_ms = [&](TimePoint at) { return Seconds(at - access.received) * 1e3; };
  Log(access.level, "access", access.what,
      {{"request_id", access.request.id},
       {"path", access.path},
       {"model", access.request.model},
       {"status", access.status},
       {"endpoint", access.endpoint},
       {"tries", access.tries},
       {"stream", access.request.streaming},
       {"ttft_ms", report.first_byte ? since_received_ms(*report.first_byte) : -1.0},
       {"ms", since_received_ms(access.now)},
       {"prompt_tokens", usage.prompt_tokens},
       {"cached_tokens", usage.cached_tokens},
       {"completion_tokens", usage.completion_tokens},
       {"error", access.error}});
}

}  // namespace sluice::serving

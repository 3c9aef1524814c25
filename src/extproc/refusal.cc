#include "extproc/refusal.h"

#include "serving/upstream_error.h"

namespace sluice::extproc {
std::optional<ImmediateAnswer> ToImmediate(const Refusal& refusal) {
  using enum model::Receipt::RefusedBy;
  // Refusals for load look different here than at the gateway's own door, because clients and alerts of upstream's
  // picker know them so: an admitter's is an internal error, and neither has a reason in the header.
  const Code code = refusal.refused_by == kAdmitter ? Code::kInternal : refusal.error.code;
  const std::string_view reason = refusal.refused_by == kNobody ? refusal.dropped_reason : std::string_view();
  const std::string_view name = serving::UpstreamErrorName(code);
  if (name.empty()) return std::nullopt;
  int status = Info(code).http_status;
  if (name == "BadRequest" && code != Code::kTooLarge) status = 400;
  return ImmediateAnswer{.http_status = status,
                         .body = "inference error: " + std::string(name) + " - " + refusal.error.message,
                         .dropped_reason = reason};
}

}  // namespace sluice::extproc

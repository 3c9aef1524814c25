#include "extproc/refusal.h"

namespace sluice::extproc {
namespace {

// Upstream's name of the class of errors; empty: it has none.
std::string_view UpstreamName(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
    case Code::kUnprocessable:
    case Code::kUnsupportedMediaType:
    case Code::kTooLarge:
    case Code::kHeadersTooLarge:
      return "BadRequest";
    case Code::kUnauthenticated:
      return "Unauthorized";
    case Code::kPermissionDenied:
      return "Forbidden";
    case Code::kNotFound:
      return "NotFound";
    case Code::kPreconditionFailed:
      return "PreconditionFailed";
    case Code::kResourceExhausted:
      return "ResourceExhausted";
    case Code::kUnavailable:
      return "ServiceUnavailable";
    case Code::kInternal:
      return "Internal";
    default:
      return {};
  }
}

}  // namespace

std::optional<ImmediateAnswer> ToImmediate(const Refusal& refusal) {
  using enum model::Receipt::RefusedBy;
  // Refusals for load look different here than at the gateway's own door, because clients and alerts of upstream's
  // picker know them so: an admitter's is an internal error, and neither has a reason in the header.
  const Code code = refusal.refused_by == kAdmitter ? Code::kInternal : refusal.error.code;
  const std::string_view reason = refusal.refused_by == kNobody ? refusal.dropped_reason : std::string_view();
  const std::string_view name = UpstreamName(code);
  if (name.empty()) return std::nullopt;
  int status = Info(code).http_status;
  if (name == "BadRequest" && code != Code::kTooLarge) status = 400;
  return ImmediateAnswer{.http_status = status,
                         .body = "inference error: " + std::string(name) + " - " + refusal.error.message,
                         .dropped_reason = reason};
}

}  // namespace sluice::extproc

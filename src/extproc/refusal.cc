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

// Two of the scheduler's refusals look different here than at the gateway's own door, because clients and alerts of
// upstream's picker know them so: an admitter's is an internal error, and saturation has no reason in the header.
void AsUpstream(const std::string& message, Code& code, std::string_view& reason) {
  if (message.starts_with("request cannot be admitted: ")) {
    code = Code::kInternal;
    reason = {};
  }
  if (message == "system saturated, sheddable request dropped") reason = {};
}

}  // namespace

std::optional<ImmediateAnswer> ToImmediate(const Refusal& refusal) {
  Code code = refusal.error.code;
  std::string_view reason = refusal.dropped_reason;
  AsUpstream(refusal.error.message, code, reason);
  const std::string_view name = UpstreamName(code);
  if (name.empty()) return std::nullopt;
  int status = Info(code).http_status;
  if (name == "BadRequest" && code != Code::kTooLarge) status = 400;
  return ImmediateAnswer{.http_status = status,
                         .body = "inference error: " + std::string(name) + " - " + refusal.error.message,
                         .dropped_reason = reason};
}

}  // namespace sluice::extproc

// Upstream's name of a class of errors, in its metrics and in the picker's answers. Thread rule: pure.
#pragma once

#include <string_view>

#include "base/error.h"

namespace sluice::serving {

// Empty: it has none.
constexpr std::string_view UpstreamErrorName(Code code) {
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

}  // namespace sluice::serving

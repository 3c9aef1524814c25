#include "base/error.h"

#include <array>

namespace sluice {
namespace {

constexpr std::array kTable = {
    CodeInfo{Code::kInvalidArgument, "invalid_argument", 400, "BadRequestError", 3, 2,
             "Correct the named field; the message says what is accepted."},
    CodeInfo{Code::kUnauthenticated, "unauthenticated", 401, "AuthenticationError", 16, 2,
             "Send `Authorization: Bearer KEY` with a key that the server was started with."},
    CodeInfo{Code::kPermissionDenied, "permission_denied", 403, "PermissionDeniedError", 7, 2,
             "Use a key or an account that may do this."},
    CodeInfo{Code::kNotFound, "not_found", 404, "NotFoundError", 5, 2,
             "Check the name; `GET /v1/models` lists the models that are served."},
    CodeInfo{Code::kMethodNotAllowed, "method_not_allowed", 405, "BadRequestError", 12, 2,
             "Use the method named in the `allow` header."},
    CodeInfo{Code::kTimeout, "timeout", 408, "BadRequestError", 4, 1,
             "The caller was too slow in sending its request; send it again."},
    CodeInfo{Code::kConflict, "conflict", 409, "ConflictError", 10, 1,
             "Something else holds the name or the port; stop it or choose another."},
    CodeInfo{Code::kPreconditionFailed, "precondition_failed", 412, "BadRequestError", 9, 1,
             "The condition that the request set does not hold."},
    CodeInfo{Code::kTooLarge, "too_large", 413, "BadRequestError", 8, 2,
             "Send a smaller body, or raise the limit that the message names."},
    CodeInfo{Code::kUnsupportedMediaType, "unsupported_media_type", 415, "BadRequestError", 3, 2,
             "Send `content-type: application/json`."},
    CodeInfo{Code::kUnprocessable, "unprocessable", 422, "UnprocessableEntityError", 3, 2,
             "The request is well-formed but cannot be carried out as written."},
    CodeInfo{Code::kHeadersTooLarge, "headers_too_large", 431, "BadRequestError", 8, 2,
             "Send fewer or shorter headers."},
    CodeInfo{Code::kResourceExhausted, "resource_exhausted", 429, "RateLimitError", 8, 1,
             "Send again after the time in `retry-after`, or slow down."},
    CodeInfo{Code::kCancelled, "cancelled", 499, "BadRequestError", 1, 1,
             "The caller left before the answer was complete."},
    CodeInfo{Code::kInternal, "internal", 500, "InternalServerError", 13, 1,
             "A fault of the server; its log has more under the same request id."},
    CodeInfo{Code::kUnimplemented, "unimplemented", 501, "NotImplementedError", 12, 2,
             "No route answers it: a metric's reason why a prompt's tokens were estimated; the receipt says more."},
    CodeInfo{Code::kBadGateway, "bad_gateway", 502, "BadGatewayError", 14, 1,
             "The endpoint broke the connection or sent something that is not HTTP; send again."},
    CodeInfo{Code::kUnavailable, "unavailable", 503, "ServiceUnavailableError", 14, 1,
             "No endpoint can take the request now; `sluice get` shows their state. Send again."},
    CodeInfo{Code::kUpstreamTimeout, "upstream_timeout", 504, "GatewayTimeoutError", 4, 1,
             "The endpoint did not answer in time; send again."},
};

constexpr bool RowsAreInOrder() {
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<size_t>(kTable[i].code) != i) return false;
  }
  return kTable.size() == static_cast<size_t>(Code::kUpstreamTimeout) + 1;
}
static_assert(RowsAreInOrder(), "one row a code, in the order of the enumeration");

}  // namespace

const CodeInfo& Info(Code code) { return kTable[static_cast<size_t>(code)]; }

std::span<const CodeInfo> AllCodes() { return kTable; }

Code CodeFromHttp(int http_status) {
  for (const CodeInfo& row : kTable) {
    if (row.http_status == http_status) return row.code;
  }
  return http_status >= 400 && http_status < 500 ? Code::kInvalidArgument : Code::kInternal;
}

}  // namespace sluice

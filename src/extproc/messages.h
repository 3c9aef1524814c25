// The messages of envoy.service.ext_proc.v3 that an endpoint picker reads and writes: ProcessingRequest to plain views,
// plain values to ProcessingResponse. Fields that the picker does not need are passed over.
// Thread rule: pure. Ownership: what is read are views into the message given. Cost: one pass over a message; a body is
// neither copied to read nor twice to write. Limits: kHeadersMax headers a message; a message's size is the caller's.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace sluice::extproc {

inline constexpr size_t kHeadersMax = 1000;
inline constexpr size_t kBodyPieceMax = 62'000;  // bytes of body a response carries, as upstream

inline constexpr std::string_view kLbNamespace = "envoy.lb";
inline constexpr std::string_view kSubsetNamespace = "envoy.lb.subset_hint";
inline constexpr std::string_view kSubsetKey = "x-gateway-destination-endpoint-subset";
inline constexpr std::string_view kDestination = "x-gateway-destination-endpoint";
inline constexpr std::string_view kServed = "x-gateway-destination-endpoint-served";
inline constexpr std::string_view kScores = "x-gateway-destination-endpoint-scores";

struct HeaderView {
  std::string_view name;
  std::string_view value;
};

struct ProcessingRequest {
  enum class Kind : uint8_t {
    kNone,
    kRequestHeaders,
    kResponseHeaders,
    kRequestBody,
    kResponseBody,
    kRequestTrailers,
    kResponseTrailers,
  };
  Kind kind = Kind::kNone;
  std::vector<HeaderView> headers;  // as they came; a value is raw_value unless that is empty
  std::string_view body;
  bool end_of_stream = false;
  std::string_view metadata;                     // envoy.config.core.v3.Metadata, or empty
  std::optional<bool> response_bodies_are_sent;  // by the filter's ProtocolConfiguration; only in the first message
};

// kInvalidArgument for bytes that are no ProcessingRequest, and for one with too many headers. `out` is reused.
Status ReadProcessingRequest(std::string_view message, ProcessingRequest& out);

// The subset that the data plane limits the choice to: addresses without ports. Nothing: there is no list of that name,
// and all endpoints are meant; an empty list means none.
std::optional<std::vector<std::string>> SubsetHint(std::string_view metadata);
// "ip:port" of the endpoint that served, or empty.
std::string_view ServedEndpoint(std::string_view metadata);

using Headers = std::vector<std::pair<std::string_view, std::string_view>>;

struct HeadMutation {
  Headers set;  // overwrites, or adds
  std::vector<std::string> remove;
  bool clear_route_cache = false;
};

// What is told to other filters: destination and, when asked for, everyone's score.
struct RoutingMetadata {
  std::string_view destination;
  std::span<const std::pair<std::string, double>> scores;
};

enum class Side : uint8_t { kRequest, kResponse };

// Each appends one ProcessingResponse to `out`.
void WriteHeaders(Side side, const HeadMutation& mutation, const RoutingMetadata* metadata, std::string& out);
void WriteBody(Side side, std::string_view piece, bool end_of_stream, std::string& out);
void WriteTrailers(Side side, std::string& out);
void WriteImmediate(int http_status, std::string_view body, const Headers& headers, std::string& out);

}  // namespace sluice::extproc

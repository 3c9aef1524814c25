// Sample: what one request gave, as measured by the client. Thread rule: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::loadgen {

enum class Failure : uint8_t {
  kNone,
  kConnect,    // no connection, or it broke before the answer began
  kTimeout,    // no whole answer within the request timeout
  kHttp429,    // refused for load
  kHttp4xx,    // refused
  kHttp5xx,    // the server failed
  kStream,     // an error event in the stream
  kCut,        // the stream ended in the middle
  kMalformed,  // not HTTP, not server-sent events, not JSON
  kNotSent,    // an open loop had too many requests under way
  kStopped,    // the run was stopped by hand while it was under way
};
inline constexpr size_t kFailures = static_cast<size_t>(Failure::kStopped) + 1;
// Stable, lower_snake: "connect", "timeout", "http_429"…
std::string_view Name(Failure failure);

struct Sample {
  Failure failure = Failure::kNone;
  std::string failure_text;  // the server's words where it had some, cut at 200 bytes
  uint32_t group = 0;
  std::string endpoint;        // header x-gateway-destination-endpoint-served; empty when there was none
  double start_s = 0;          // since the measured part began
  double late_s = 0;           // open loop: sent so long after it was due
  double ttft_s = -1;          // until the first piece of text; negative: none came
  double e2e_s = 0;            // until the end of the answer
  std::vector<float> itl_s;    // gaps between pieces of text
  int64_t prompt_tokens = -1;  // by the server's usage; negative: it gave none
  int64_t output_tokens = 0;   // by the server's usage, or else the number of pieces
  int64_t cached_tokens = -1;  // by the server's usage; negative: it gave none
};

}  // namespace sluice::loadgen

// Refusal: a request that is answered by the picker itself, and how upstream words that: the HTTP status, the text
// "inference error: <Code> - <message>" and the header x-llm-d-request-dropped-reason.
// Thread rule: plain values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/decision.h"

namespace sluice::extproc {

inline constexpr std::string_view kDroppedReason = "x-llm-d-request-dropped-reason";

struct Refusal {
  Error error;
  std::string_view dropped_reason;  // a constant; empty: none
  model::Receipt::RefusedBy refused_by = model::Receipt::RefusedBy::kNobody;
};

struct ImmediateAnswer {
  int http_status = 500;
  std::string body;
  std::string_view dropped_reason;
};

// Nothing for an error that upstream has no answer for: the gRPC stream fails, and Envoy's failure mode decides.
std::optional<ImmediateAnswer> ToImmediate(const Refusal& refusal);

}  // namespace sluice::extproc

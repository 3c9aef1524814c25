// RelayReport: what became of one answer on its way through: what the accounts of a request are made of, whoever
// relayed it. Cost: a plain value.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/error.h"
#include "parse/usage_reader.h"

namespace sluice::serving {

enum class RelayOutcome : uint8_t {
  kDone,        // the answer was relayed whole
  kNotSent,     // no connection could be made, or it broke before a byte of answer: another endpoint may be tried
  kBroken,      // the endpoint broke off in the middle; the client was told
  kTimeout,     // the endpoint was silent for too long; the client was told
  kClientLeft,  // the client left; the endpoint's work was cancelled
};

struct RelayReport {
  RelayOutcome outcome = RelayOutcome::kDone;
  std::optional<Error> error;  // with kNotSent, kBroken, kTimeout
  int status = 0;
  bool event_stream = false;
  uint64_t response_bytes = 0;          // of the body
  uint64_t pieces = 0;                  // wake-ups that brought body bytes
  TimePoint sent;                       // the request was written
  std::optional<TimePoint> first_byte;  // of the body
  TimePoint last_byte;
  std::optional<parse::Usage> usage;
  uint64_t events = 0;  // of an event stream
};

}  // namespace sluice::serving

// EndpointHealth: whether an endpoint is in the rotation. Consecutive connect failures take it out; then it is probed
// with exponential back-off; one success brings it back. A new endpoint is in at once, as upstream has it.
// The rest of the program reports what it saw (requests and scrapes alike) and sends probes when they are due.
// Thread rule: one owner. Cost: a few words.
#pragma once

#include "base/clock.h"
#include "base/rng.h"

namespace sluice::pool {

struct HealthOptions {
  int failures_to_eject = 2;  // consecutive; a single lost connection is retried elsewhere and forgotten
  Duration probe_initial = std::chrono::milliseconds(200);
  Duration probe_max = std::chrono::seconds(10);
  double jitter = 0.2;  // share of the delay that is random, so that a fleet of gateways does not probe as one
};

class EndpointHealth {
 public:
  explicit EndpointHealth(const HealthOptions& options) : options_(&options) {}

  // Something answered: a request's response head, a scrape, a probe. True when this brought it back.
  bool OnSuccess();
  // The connection was refused, reset before an answer, or timed out. True when this took it out.
  bool OnConnectFailure(TimePoint now, Rng& rng);

  bool in_rotation() const { return in_rotation_; }
  int consecutive_failures() const { return failures_; }
  // A probe should be sent now. False while in rotation.
  bool ProbeDue(TimePoint now) const { return !in_rotation_ && now >= next_probe_; }
  TimePoint next_probe() const { return next_probe_; }

 private:
  const HealthOptions* options_;
  bool in_rotation_ = true;
  int failures_ = 0;
  Duration delay_{0};
  TimePoint next_probe_{};
};

}  // namespace sluice::pool

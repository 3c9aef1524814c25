// ArrivalTimes: when each request of an open loop is due, counted from the start of the run. Absolute times, so that a
// late sender does not stretch the process. Thread rule: one owner. Cost: one draw a request.
#pragma once

#include "base/clock.h"
#include "base/rng.h"
#include "loadgen/options.h"

namespace sluice::loadgen {

class ArrivalTimes {
 public:
  // `kind` is kPoisson or kConstant.
  ArrivalTimes(ArrivalKind kind, double rate, uint64_t seed)
      : kind_(kind), rate_(rate), rng_(seed ^ 0x6172726976616c73) {}

  // The first request of a constant rate is due at once; of a Poisson process after a first gap.
  Duration Next() {
    if (kind_ == ArrivalKind::kConstant) return FromSeconds(static_cast<double>(count_++) / rate_);
    seconds_ += rng_.Exponential(rate_);
    return FromSeconds(seconds_);
  }

 private:
  ArrivalKind kind_;
  double rate_;
  Rng rng_;
  uint64_t count_ = 0;
  double seconds_ = 0;
};

}  // namespace sluice::loadgen

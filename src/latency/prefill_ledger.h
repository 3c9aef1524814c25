// PrefillLedger: what one endpoint still has to prefill of our own requests, and how long it has been at it. These are
// three features of a prediction (features.h) that no engine reports, and that a router knows from three events.
// Engines prefill in order of arrival, but in chunks that hold the end of one prompt and the beginning of the next:
// when a first token comes, the next prompt may be half done. What the engine's time did not go into the finished
// prompt is therefore taken (in part, kTrust) as work on the next one. Thread rule: plain value, one owner. Memory: 24
// bytes. Cost: a few instructions an event.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"
#include "latency/features.h"

namespace sluice::latency {

class PrefillLedger {
 public:
  // Times are guesses with errors that would add up over a long queue; a part of each guess is enough (0.8 was best for
  // chunks of 512 to 8,192 tokens in the tests' engines).
  static constexpr double kTrust = 0.8;

  // A request with so many uncached prompt tokens goes there.
  void Dispatch(TimePoint now, float uncached_tokens) {
    if (requests_ == 0) busy_since_ = now;
    ++requests_;
    tokens_ += uncached_tokens;
  }

  // Its first token came. `ms_per_token`: Model::PrefillMsPerToken of its kind.
  void FirstToken(TimePoint now, float uncached_tokens, double ms_per_token) {
    if (requests_ == 0) return;
    const double busy_ms = Ms(now - busy_since_);
    Leave(uncached_tokens);
    const double most = static_cast<double>(tokens_) * ms_per_token;
    const double on_next_ms = std::clamp(busy_ms - static_cast<double>(uncached_tokens) * ms_per_token, 0.0, most);
    busy_since_ =
        now - std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(on_next_ms * kTrust));
  }

  // It ended without a first token: cancelled, failed.
  void Abandon(float uncached_tokens) { Leave(uncached_tokens); }

  float requests() const { return static_cast<float>(requests_); }
  float tokens() const { return tokens_; }
  float ElapsedMs(TimePoint now) const {
    return requests_ == 0 ? 0 : static_cast<float>(std::max(0.0, Ms(now - busy_since_)));
  }
  void Fill(TimePoint now, EndpointFeatures& out) const {
    out.prefill_tokens_ahead = tokens_;
    out.prefill_requests_ahead = requests();
    out.prefill_elapsed_ms = ElapsedMs(now);
  }

 private:
  static double Ms(Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
  void Leave(float uncached_tokens) {
    if (requests_ > 0) --requests_;
    tokens_ = requests_ == 0 ? 0 : std::max(0.0F, tokens_ - uncached_tokens);  // no rest of rounding when idle
  }

  TimePoint busy_since_ = TimePoint::min();
  float tokens_ = 0;
  uint32_t requests_ = 0;
};

}  // namespace sluice::latency

// Lifecycle: what becomes of one supervised process, as a pure state machine: told what happened and when, it says
// which state that is and what to do next. The effects (fork, probes, signals) are the Supervisor's.
//
//   starting ──answers 200──▶ ready ◀──▶ not-ready      any ──ends──▶ backing-off ──delay──▶ starting
//   any ──stop──▶ stopping ──ends──▶ stopped            never was ready and (caller's mistake | tries used up) ──▶
//   failed
//
// Thread rule: plain value. Cost: a few comparisons.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/clock.h"

namespace sluice::control {

enum class ProcessState : uint8_t { kStarting, kReady, kNotReady, kBackingOff, kStopping, kStopped, kFailed };
std::string_view Name(ProcessState state);
std::optional<ProcessState> ParseProcessState(std::string_view name);

struct RestartPolicy {
  Duration backoff_first = std::chrono::milliseconds(500);  // doubles with each failure in a row
  Duration backoff_max = std::chrono::seconds(30);
  Duration healthy_after = std::chrono::seconds(60);  // ready for so long: the failures before it are forgotten
  Duration start_max = std::chrono::minutes(10);      // from start to the first 200
  Duration silent_max = std::chrono::seconds(60);     // was ready, then accepts no request at all: killed
  int silent_probes_max = 3;                          // in a row; a busy process may miss one or two
  int first_tries_max = 3;                            // ends before it ever was ready, until it has failed
};

// What a readiness probe brought.
enum class Probe : uint8_t { kReady, kNotReady, kSilent };  // 200; another answer; no answer

class Lifecycle {
 public:
  explicit Lifecycle(const RestartPolicy& policy) : policy_(policy) {}

  struct AfterEnd {
    bool restart = false;
    Duration delay{};
  };

  // The process was started (first or again).
  void OnStarted(TimePoint now);
  void OnProbe(TimePoint now, Probe probe);
  // It ended, or could not be started. `callers_mistake`: it says that its arguments are wrong (exit code 2), so that
  // trying again is pointless.
  AfterEnd OnEnd(TimePoint now, bool callers_mistake);
  // It is to end and to stay ended.
  void OnStop();
  // OnStop() found nothing running, or what was running has ended.
  void OnGone() { state_ = ProcessState::kStopped; }

  // Why it must be killed now; empty when it need not.
  std::string_view HungBecause(TimePoint now) const;

  ProcessState state() const { return state_; }
  int restarts() const { return starts_ > 0 ? starts_ - 1 : 0; }
  bool ever_ready() const { return ever_ready_; }
  bool over() const { return state_ == ProcessState::kStopped || state_ == ProcessState::kFailed; }

 private:
  RestartPolicy policy_;
  ProcessState state_ = ProcessState::kStarting;
  int starts_ = 0;
  int failures_ = 0;       // in a row
  int silent_probes_ = 0;  // in a row
  bool ever_ready_ = false;
  bool ready_in_this_run_ = false;
  TimePoint started_;
  TimePoint ready_since_;    // first 200 of this run
  TimePoint last_answered_;  // in this run
};

}  // namespace sluice::control

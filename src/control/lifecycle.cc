#include "control/lifecycle.h"

#include <algorithm>
#include <array>

namespace sluice::control {
namespace {

constexpr std::array kStateNames = {
    std::string_view("starting"),    std::string_view("ready"),    std::string_view("not-ready"),
    std::string_view("backing-off"), std::string_view("stopping"), std::string_view("stopped"),
    std::string_view("failed"),
};
constexpr int kDoublingsMax = 20;

}  // namespace

std::string_view Name(ProcessState state) { return kStateNames[static_cast<size_t>(state)]; }

std::optional<ProcessState> ParseProcessState(std::string_view name) {
  const auto* found = std::ranges::find(kStateNames, name);
  if (found == kStateNames.end()) return std::nullopt;
  return static_cast<ProcessState>(found - kStateNames.begin());
}

void Lifecycle::OnStarted(TimePoint now) {
  ++starts_;
  state_ = ProcessState::kStarting;
  ready_in_this_run_ = false;
  silent_probes_ = 0;
  started_ = now;
  last_answered_ = now;
}

void Lifecycle::OnProbe(TimePoint now, Probe probe) {
  if (probe == Probe::kSilent) {
    ++silent_probes_;
  } else {
    silent_probes_ = 0;
    last_answered_ = now;
  }
  const bool running =
      state_ == ProcessState::kStarting || state_ == ProcessState::kReady || state_ == ProcessState::kNotReady;
  if (!running) return;
  if (probe == Probe::kReady) {
    if (!ready_in_this_run_) ready_since_ = now;
    ready_in_this_run_ = true;
    ever_ready_ = true;
    state_ = ProcessState::kReady;
  } else if (ready_in_this_run_ && (probe == Probe::kNotReady || silent_probes_ >= policy_.silent_probes_max)) {
    state_ = ProcessState::kNotReady;
  }
}

Lifecycle::AfterEnd Lifecycle::OnEnd(TimePoint now, bool callers_mistake) {
  if (state_ == ProcessState::kStopping) {
    state_ = ProcessState::kStopped;
    return {};
  }
  if (ready_in_this_run_ && now - ready_since_ >= policy_.healthy_after) failures_ = 0;
  ready_in_this_run_ = false;
  ++failures_;
  if (!ever_ready_ && (callers_mistake || failures_ >= policy_.first_tries_max)) {
    state_ = ProcessState::kFailed;
    return {};
  }
  state_ = ProcessState::kBackingOff;
  const Duration delay = policy_.backoff_first * (int64_t{1} << std::min(failures_ - 1, kDoublingsMax));
  return {true, std::min(delay, policy_.backoff_max)};
}

void Lifecycle::OnStop() {
  if (!over()) state_ = ProcessState::kStopping;
}

std::string_view Lifecycle::HungBecause(TimePoint now) const {
  if (state_ == ProcessState::kStarting && now - started_ >= policy_.start_max) return "was not ready in time";
  if (state_ == ProcessState::kNotReady && now - last_answered_ >= policy_.silent_max) return "stopped answering";
  return {};
}

}  // namespace sluice::control

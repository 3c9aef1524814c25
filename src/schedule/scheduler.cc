#include "schedule/scheduler.h"

#include <algorithm>
#include <cctype>

#include "base/check.h"
#include "base/text.h"
#include "schedule/decision_log.h"

namespace sluice::schedule {

using model::Decision;
using model::PoolView;
using model::Request;

namespace {

// One reading of the real clock for everything that belongs to one event: what a log has, a replay can repeat.
class StoppedClock final : public Clock {
 public:
  StoppedClock(TimePoint now, double unix_seconds) : now_(now), unix_seconds_(unix_seconds) {}
  TimePoint Now() const override { return now_; }
  double UnixSeconds() const override { return unix_seconds_; }

 private:
  TimePoint now_;
  double unix_seconds_;
};

constexpr size_t kNameMax = 63;

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= kNameMax && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

// Each lane its own numbers, so that a shadow more changes nothing for the others.
uint64_t SeedOf(uint64_t seed, std::string_view name) { return seed ^ Fnv1a64(name); }

// Tokens of the prompt that the decision's pick is thought to hold.
float CachedTokensOfPick(const Decision& decision) {
  const model::Receipt& receipt = decision.receipt;
  const model::ReceiptCandidate& pick = receipt.profiles[receipt.primary].candidates.front();
  const uint64_t tokens = uint64_t{pick.matched_blocks} * receipt.block_size;
  return static_cast<float>(std::min<uint64_t>(tokens, receipt.prompt_tokens));
}

latency::RequestFeatures FeaturesOf(const Decision& decision, const Request& request) {
  constexpr float kOutputGuess = 256;  // upstream has no better guess either; only ITL depends on it, weakly
  return {.prompt_tokens = static_cast<float>(decision.receipt.prompt_tokens),
          .encoder_tokens = 0,
          .output_tokens = request.output_tokens_max
                               ? std::min(kOutputGuess, static_cast<float>(*request.output_tokens_max))
                               : kOutputGuess};
}

}  // namespace

Scheduler::Scheduler(LoadedConfig config, const Clock& clock, Options options, std::string_view name)
    : clock_(clock), options_(std::move(options)), latency_(std::make_shared<LatencyTracker>(options_.latency)) {
  options_.state.latency = latency_;
  live_ = MakeLane(name, std::move(config), nullptr);
}

Scheduler::~Scheduler() = default;

std::unique_ptr<Lane> Scheduler::MakeLane(std::string_view name, LoadedConfig config,
                                          const PolicyState* previous) const {
  StateOptions options = options_.state;
  options.lane = name;
  auto state = std::make_shared<PolicyState>(config.policy, options, previous);
  return std::make_unique<Lane>(
      Lane{std::string(name), std::move(config), std::move(state), Rng(SeedOf(options_.seed, name))});
}

Lane* Scheduler::FindShadow(std::string_view name) {
  for (const auto& shadow : shadows_) {
    if (shadow->name == name) return shadow.get();
  }
  return nullptr;
}

const Decision* Scheduler::ShadowDecision(std::string_view name) const {
  for (const auto& shadow : shadows_) {
    if (shadow->name == name) return &shadow->decision;
  }
  return nullptr;
}

Status Scheduler::Put(std::string_view name, LoadedConfig config) {
  if (!IsName(name)) {
    return Fail(Code::kInvalidArgument,
                "'" + std::string(name) + "' cannot name a policy: use 1 to 63 letters, digits, '-', '_' and '.'");
  }
  if (log_ != nullptr) log_->Policy(name, config);
  Lane* lane = live_->name == name ? live_.get() : FindShadow(name);
  if (lane == nullptr) {
    if (shadows_.size() >= kShadowsMax) {
      return Fail(Code::kInvalidArgument, "at most " + std::to_string(kShadowsMax) + " shadow policies at a time");
    }
    shadows_.push_back(MakeLane(name, std::move(config), nullptr));
    comparisons_.emplace_back();
    return {};
  }
  std::unique_ptr<Lane> fresh = MakeLane(name, std::move(config), lane->state.get());
  *lane = std::move(*fresh);
  // What was compared was another policy.
  for (size_t i = 0; i < shadows_.size(); ++i) {
    if (lane == live_.get() || lane == shadows_[i].get()) comparisons_[i] = {};
  }
  if (lane == live_.get()) guard_.Stop();
  return {};
}

void Scheduler::Swap(Lane& shadow) {
  std::swap(*live_, shadow);
  for (ShadowComparison& comparison : comparisons_) comparison = {};
}

Status Scheduler::Promote(std::string_view name) {
  Lane* shadow = FindShadow(name);
  if (shadow == nullptr) {
    if (live_->name == name) return Fail(Code::kConflict, "policy '" + std::string(name) + "' is the live one already");
    std::vector<std::string> names;
    for (const auto& lane : shadows_) names.push_back(lane->name);
    return Fail(Code::kNotFound, "there is no shadow policy '" + std::string(name) + "'" + DidYouMean(name, names));
  }
  if (log_ != nullptr) log_->Promote(name);
  promoted_over_ = live_->name;
  first_promoted_flight_ = next_flight_;
  guard_.Begin();
  Swap(*shadow);
  return {};
}

const Decision& Scheduler::Decide(const Request& request, const PoolView& pool, bool acting) {
  const TimePoint start = clock_.Now();
  latency_->Advance(start);
  const StoppedClock stopped(start, clock_.UnixSeconds());
  schedule::Decide(request, pool, *live_->state, stopped, live_->rng, live_->decision);
  Expect(request, pool, start);
  live_->decision.receipt.decide_ns = static_cast<uint64_t>((clock_.Now() - start).count());
  if (acting) {
    for (const auto& shadow : shadows_) {
      schedule::Decide(request, pool, *shadow->state, stopped, shadow->rng, shadow->decision);
    }
  }
  if (log_ != nullptr) {
    matches_.clear();
    live_->state->AppendMatches(matches_);
    for (const auto& shadow : shadows_) {
      if (acting) shadow->state->AppendMatches(matches_);
    }
    log_->Decide(request, pool, live_->decision, matches_, start, acting);
  }
  return live_->decision;
}

void Scheduler::Expect(const Request& request, const PoolView& pool, TimePoint now) {
  Decision& decision = live_->decision;
  decision.receipt.expected_ttft_ms = -1;
  if (!decision.ok()) return;
  expected_ =
      latency_->Expect(pool, decision.pick().row, FeaturesOf(decision, request), CachedTokensOfPick(decision), now);
  decision.receipt.expected_ttft_ms = double{expected_.prediction.ttft_ms};
  decision.receipt.expected_plus_minus_ms = double{expected_.prediction.ttft_plus_minus_ms};
}

void Scheduler::Compare(const Request& request, const PoolView& pool, TimePoint now) {
  const model::Target& live_pick = live_->decision.pick();
  for (size_t i = 0; i < shadows_.size(); ++i) {
    const Decision& decision = shadows_[i]->decision;
    ShadowComparison& comparison = comparisons_[i];
    ++comparison.requests;
    if (!decision.ok()) {
      ++comparison.would_refuse;
      continue;
    }
    const double live_ms = double{expected_.prediction.ttft_ms};
    const bool same = decision.pick().id == live_pick.id;
    const double shadow_ms = same ? live_ms
                                  : double{latency_
                                               ->Expect(pool, decision.pick().row, FeaturesOf(decision, request),
                                                        CachedTokensOfPick(decision), now)
                                               .prediction.ttft_ms};
    comparison.Add(live_ms, shadow_ms, same);
  }
}

Scheduler::Flight Scheduler::Dispatch(const Request& request, const PoolView& pool) {
  Decision& decision = live_->decision;
  SLUICE_CHECK(decision.ok(), "only a pick can be dispatched");
  const StoppedClock stopped(clock_.Now(), clock_.UnixSeconds());
  const TimePoint now = stopped.Now();
  latency_->Advance(now);
  Compare(request, pool, now);
  Flight flight;
  flight.number = next_flight_++;
  flight.parts.push_back({live_->state, OnDispatch(request, pool, *live_->state, decision, stopped)});
  for (const auto& shadow : shadows_) {
    if (!shadow->decision.ok()) continue;
    // A shadow learns from what happens, which is the live policy's pick.
    shadow->decision.profiles[shadow->decision.primary].targets = {decision.pick()};
    flight.parts.push_back({shadow->state, OnDispatch(request, pool, *shadow->state, shadow->decision, stopped)});
  }
  flight.latency = latency_->Dispatch(expected_, decision.pick().id, request.streaming, now);
  ++open_flights_;
  if (log_ != nullptr) log_->Dispatch(flight.number, now);
  return flight;
}

void Scheduler::OnResponseHead(Flight& flight, const ResponseHead& head, HeaderList& headers) {
  schedule::OnResponseHead(*flight.parts.front().state, flight.ticket(), head, headers);
}

void Scheduler::OnFirstChunk(Flight& flight) {
  const TimePoint now = clock_.Now();
  latency_->Advance(now);
  if (log_ != nullptr) log_->FirstChunk(flight.number, now);
  for (Flight::Part& part : flight.parts) schedule::OnFirstChunk(*part.state, part.ticket);
  latency_->FirstToken(flight.latency, now);
  if (!flight.latency.streaming || flight.number < first_promoted_flight_) return;
  if (guard_.Measured(Seconds(now - flight.latency.dispatched_at) * 1e3) == PromotionGuard::Verdict::kWorse) Revert();
}

void Scheduler::Revert() {
  Lane* before = FindShadow(promoted_over_);
  guard_.Stop();
  if (before == nullptr) return;  // it was removed meanwhile
  char ratio[32];
  std::snprintf(ratio, sizeof ratio, "%.2f", guard_.ratio());
  promotion_ = "'" + live_->name + "' was taken back after " + std::to_string(guard_.seen()) +
               " answers: measured TTFT was " + ratio + " times that of '" + promoted_over_ + "'";
  Swap(*before);
  if (on_revert) on_revert(promotion_);
}

ReportedAttributes Scheduler::End(Flight&& flight, const ResponseEnd& end) {
  const TimePoint now = clock_.Now();
  latency_->Advance(now);
  if (log_ != nullptr) log_->End(flight.number, end, now);
  ReportedAttributes attributes;
  ResponseEnd timed = end;
  timed.at = now;  // this clock's, which the log has too
  for (size_t i = 0; i < flight.parts.size(); ++i) {
    ReportedAttributes own = OnResponseEnd(*flight.parts[i].state, std::move(flight.parts[i].ticket), timed);
    if (i == 0) attributes = std::move(own);
  }
  latency_->End(flight.latency, now, end.output_tokens, end.failed);
  SLUICE_CHECK(open_flights_ > 0, "a flight ends once");
  --open_flights_;
  return attributes;
}

Status Scheduler::RestoreLatency(std::string_view text) {
  const Status restored = latency_->model().Restore(text);
  if (restored && log_ != nullptr) log_->Latency(text);
  return restored;
}

ShadowReport Scheduler::Report() const {
  ShadowReport report{.live = live_->name, .shadows = {}, .promotion = promotion_};
  if (guard_.verdict() != PromotionGuard::Verdict::kNone) {
    char text[160];
    const char* state = guard_.verdict() == PromotionGuard::Verdict::kWatching ? "being watched"
                        : guard_.verdict() == PromotionGuard::Verdict::kKept   ? "kept"
                                                                               : "not guarded (too few answers before)";
    std::snprintf(text, sizeof text, "'%s' over '%s' is %s: %llu answers, TTFT %.2f times the one before",
                  live_->name.c_str(), promoted_over_.c_str(), state, static_cast<unsigned long long>(guard_.seen()),
                  guard_.seen() > 0 ? guard_.ratio() : 1.0);
    report.promotion = text;
  }
  for (size_t i = 0; i < shadows_.size(); ++i) report.shadows.push_back({shadows_[i]->name, comparisons_[i]});
  return report;
}

void Scheduler::SetLog(std::unique_ptr<DecisionLog> log) {
  log_ = std::move(log);
  if (log_ == nullptr) return;
  log_->Policy(live_->name, live_->config);
  for (const auto& shadow : shadows_) log_->Policy(shadow->name, shadow->config);
  log_->Latency(latency_->model().Save());
}

}  // namespace sluice::schedule

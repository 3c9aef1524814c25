// Scheduler: a pool's policy at work. It decides, follows each request to its end, and learns what times to expect;
// beside the live policy it runs shadow policies, which decide about the same requests without acting and learn from
// what the live one did; it can promote a shadow, and takes that back when measured times get worse; and it writes all
// of it to a decision log, from which Replay repeats the decisions bit for bit.
//
//   const model::Decision& decision = scheduler.Decide(request, view);
//   if (!decision.ok()) -> answer decision.error
//   Scheduler::Flight flight = scheduler.Dispatch(request, view);      // before the next Decide
//   scheduler.OnResponseHead / OnFirstChunk / End(flight, ...)
//
// Thread rule: one owner. Ownership: flights keep the states they began in, so policies can be replaced meanwhile.
// Cost: that of decide.h, once more for each shadow; one prediction a decision (~0.1 us).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/rng.h"
#include "schedule/config.h"
#include "schedule/decide.h"
#include "schedule/latency_tracker.h"
#include "schedule/shadow.h"

namespace sluice::schedule {

class DecisionLog;

// One policy with its name and the memory it decides with.
struct Lane {
  std::string name;
  LoadedConfig config;
  std::shared_ptr<PolicyState> state;
  Rng rng;
  model::Decision decision{};  // the latest
};

class Scheduler {
 public:
  struct Options {
    StateOptions state;
    uint64_t seed = 0;
    latency::Model::Options latency{.kinds_max = 64, .endpoints_max = 20'000};
  };
  static constexpr std::string_view kConfigured = "configured";  // the lane of the pool's own configuration
  static constexpr size_t kShadowsMax = 8;

  // `name`: of the first live lane; another one only when a log is replayed that began with another.
  Scheduler(LoadedConfig config, const Clock& clock, Options options, std::string_view name = kConfigured);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;

  // The live policy.
  const LoadedConfig& config() const { return live_->config; }
  const Policy& policy() const { return live_->state->policy(); }
  PolicyState& state() { return *live_->state; }
  const std::string& live_name() const { return live_->name; }

  // Puts another configuration in the place of the lane of that name, or adds a shadow of that name. Plugins that did
  // not change keep their memory; requests on their way end with the policy that they began with. Errors: more than
  // kShadowsMax shadows, a bad name.
  Status Put(std::string_view name, LoadedConfig config);
  // Makes the shadow live and the live one a shadow. kNotFound with the nearest name. From now on measured times are
  // compared with those before, and the promotion is taken back when they are worse (shadow.h).
  Status Promote(std::string_view name);

  // The decision is good until the next Decide. `acting` false: only asked; nobody will dispatch it.
  const model::Decision& Decide(const model::Request& request, const model::PoolView& pool, bool acting = true);
  const model::Decision& decision() const { return live_->decision; }
  // What the shadow of that name decided about the same request; nullptr when there is none.
  const model::Decision* ShadowDecision(std::string_view name) const;

  struct Flight {
    struct Part {
      std::shared_ptr<PolicyState> state;
      Ticket ticket;
    };
    uint64_t number = 0;
    std::vector<Part> parts;  // the live policy's first
    LatencyTracker::Flight latency;

    const Ticket& ticket() const { return parts.front().ticket; }
  };
  // Carries out the latest decision, which must be ok().
  [[nodiscard]] Flight Dispatch(const model::Request& request, const model::PoolView& pool);
  // `headers` gets what plugins set on the answer. At most once a flight.
  void OnResponseHead(Flight& flight, const ResponseHead& head, HeaderList& headers);
  void OnFirstChunk(Flight& flight);
  ReportedAttributes End(Flight&& flight, const ResponseEnd& end);

  size_t open_flights() const { return open_flights_; }
  const LatencyTracker& latency() const { return *latency_; }
  Status RestoreLatency(std::string_view text);
  ShadowReport Report() const;

  // Everything from now on goes to `log`, beginning with what is configured. nullptr: no more.
  void SetLog(std::unique_ptr<DecisionLog> log);
  const DecisionLog* log() const { return log_.get(); }

  // Called when a promotion was taken back, with a line for people.
  std::function<void(const std::string&)> on_revert;

 private:
  std::unique_ptr<Lane> MakeLane(std::string_view name, LoadedConfig config, const PolicyState* previous) const;
  Lane* FindShadow(std::string_view name);
  void Swap(Lane& shadow);
  void Expect(const model::Request& request, const model::PoolView& pool, TimePoint now);
  void Compare(const model::Request& request, const model::PoolView& pool, TimePoint now);
  void Revert();

  const Clock& clock_;
  Options options_;
  std::shared_ptr<LatencyTracker> latency_;
  std::unique_ptr<Lane> live_;
  std::vector<std::unique_ptr<Lane>> shadows_;
  std::vector<ShadowComparison> comparisons_;  // one a shadow
  PromotionGuard guard_;
  std::string promoted_over_;  // the lane that was live before the latest promotion
  uint64_t first_promoted_flight_ = 0;
  std::string promotion_;              // how the latest one that was taken back ended
  LatencyTracker::Expected expected_;  // of the latest decision's pick
  std::unique_ptr<DecisionLog> log_;
  std::vector<RecordedMatch> matches_;  // scratch, for the log
  uint64_t next_flight_ = 1;
  size_t open_flights_ = 0;
};

}  // namespace sluice::schedule

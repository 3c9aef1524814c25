// Plugin interfaces: what a scheduling plugin can be. A plugin is one class with one or more of the roles below; it is
// immutable after loading, and what it must remember lives in a PluginState that the caller owns (one a PolicyState),
// so the same policy runs on several shards and in the simulator.
// Thread rule: const methods, any thread, each with its own PolicyState. Ownership: a Policy owns its plugins.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/rng.h"
#include "model/decision.h"
#include "model/pool_view.h"
#include "model/request.h"
#include "schedule/candidates.h"
#include "schedule/data.h"
#include "schedule/params.h"

namespace sluice::schedule {

class CacheIndexes;
class LatencyTracker;
class Plugin;
struct RecordedMatches;

enum class Stability : uint8_t { kBeta, kAlpha };

// What a plugin type declares once: validation, docs and the registry come from it.
struct PluginInfo {
  std::string_view type;
  Stability stability = Stability::kBeta;
  std::string_view help;
  std::span<const ParamSpec> params;
  // Makes an instance. What is wrong with its parameters beyond their table goes to `problems`; then the result is
  // unused.
  std::unique_ptr<Plugin> (*make)(const PluginInfo& info, std::string name, const Params& params,
                                  codec::yaml::Problems& problems);
  std::string_view deprecated = {};  // what to use instead; empty: current
};

struct PluginState {
  virtual ~PluginState() = default;
};

// What a caller may set for a state: its memory, and what it shares with others.
struct StateOptions {
  size_t prefix_entries_max = size_t{1} << 22;      // blocks remembered over all endpoints; about 50 bytes each
  size_t sessions_max = size_t{1} << 16;            // remembered by each session affinity plugin; about 200 bytes each
  size_t receipt_candidates_max = 64;               // endpoints that a receipt spells out; the rest is counted
  std::shared_ptr<LatencyTracker> latency;          // the pool's; null: a plugin that predicts keeps one of its own
  std::shared_ptr<CacheIndexes> caches;             // of the pool's engines; null: nobody listens to them
  std::shared_ptr<const RecordedMatches> recorded;  // not null: a replay; what precise producers found is in there
  std::string lane;                                 // the policy's name, under which its matches are recorded
};

// Data that a plugin reads.
struct Need {
  DataKind kind;
  std::string producer;  // instance name; empty: the kind's default producer
  bool required = true;  // false: read when some plugin produces it
};

class Plugin;
// The instance of that name (a registered type's name creates one), or nullptr. Only while a policy is loaded.
using PluginFinder = std::function<Plugin*(std::string_view name)>;

class Plugin {
 public:
  Plugin(const PluginInfo& info, std::string name) : info_(info), name_(std::move(name)) {}
  virtual ~Plugin() = default;
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  const PluginInfo& info() const { return info_; }
  const std::string& name() const { return name_; }
  uint32_t index() const { return index_; }  // within the policy
  void set_index(uint32_t index) { index_ = index; }
  // Parameters as written, in one canonical form: a reloaded policy keeps the state of a plugin that did not change.
  const std::string& parameters_text() const { return parameters_text_; }
  // The same with defaults, for people.
  const std::vector<EffectiveParam>& effective_parameters() const { return effective_parameters_; }
  void set_parameters(std::string text, std::vector<EffectiveParam> effective) {
    parameters_text_ = std::move(text);
    effective_parameters_ = std::move(effective);
  }

  virtual std::vector<Need> Needs() const { return {}; }
  // The loader's answer to Needs(): the board slot of each, Board::kNoSlot when nobody produces an optional one.
  virtual void Bind(std::span<const int> slots) { (void)slots; }
  // Other plugins that this one calls, by the names in its parameters (a profile handler its deciders). What cannot be
  // found, or cannot do what is asked of it, goes to `problems`.
  virtual void BindReferences(const PluginFinder& find, codec::yaml::Problems& problems) { (void)find, (void)problems; }
  virtual std::shared_ptr<PluginState> MakeState(const StateOptions& options) const {
    (void)options;
    return nullptr;
  }
  // Endpoints came or went: forget those that are not in `members`.
  virtual void ForgetGone(const model::PoolMembers& members, PluginState& state) const { (void)members, (void)state; }

 private:
  const PluginInfo& info_;
  std::string name_;
  std::string parameters_text_;
  std::vector<EffectiveParam> effective_parameters_;
  uint32_t index_ = 0;
};

using PluginStates = std::vector<std::shared_ptr<PluginState>>;

// What every role sees of one decision.
struct DecisionInput {
  const model::Request& request;
  const model::PoolView& pool;
  const Board& board;
  const PluginStates& states;
  TimePoint now;
  Rng& rng;                             // every random choice comes from here, so that a decision can be repeated
  const model::Target* peer = nullptr;  // the endpoint that this profile's should be near, as the handler said

  template <class State>
  State& StateOf(const Plugin& plugin) const {
    return static_cast<State&>(*states[plugin.index()]);
  }
};

// Reads the request's headers before anything is decided, and completes the request (upstream: RequestHeader).
class HeaderReader {
 public:
  virtual ~HeaderReader() = default;
  virtual void ReadHeaders(model::Request& request) const = 0;
};

// Drops endpoints before anything is computed: every screener sees all candidates, and what any of them drops is gone
// for every profile. keep[i] is 1 at entry.
class Screener {
 public:
  virtual ~Screener() = default;
  virtual void Screen(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const = 0;
};

// Computes data before profiles run.
class Producer {
 public:
  virtual ~Producer() = default;
  virtual DataKind Provides() const = 0;
  virtual std::unique_ptr<Data> MakeData() const = 0;
  // Fills `out`, which MakeData made. On failure the producers behind it are skipped and the request goes on.
  virtual Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const = 0;
  // Whether what it finds rests on more than the request, the view and its own memory: a decision log then has it. Only
  // for prefix matches.
  virtual bool FromOutside() const { return false; }
};

// How loaded the candidates are: 1 is full, more is more than full; no candidates are 1. At 1 and above sheddable
// requests (priority below 0) are refused.
class SaturationDetector {
 public:
  virtual ~SaturationDetector() = default;
  virtual double Saturation(const DecisionInput& in, const Candidates& candidates) const = 0;
};

// Refuses a request after data was produced and before profiles run; the error's message is the reason.
class Admitter {
 public:
  virtual ~Admitter() = default;
  virtual Status Admit(const DecisionInput& in, const Candidates& candidates) const = 0;
};

// Drops candidates of a profile: keep[i] is 1 at entry; set it to 0 to drop candidate i.
class Filter {
 public:
  virtual ~Filter() = default;
  virtual void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const = 0;
};

// Writes out[i], nominally 0..1, for candidate i. NaN: no score, adds nothing.
class Scorer {
 public:
  virtual ~Scorer() = default;
  virtual void Score(const DecisionInput& in, const Candidates& candidates, std::span<float> out) const = 0;
};

// Appends to `picked` the positions of the chosen candidates, best first. `totals` has one entry a candidate; there is
// at least one. `scratch` is reused memory.
class Picker {
 public:
  virtual ~Picker() = default;
  virtual void Pick(const DecisionInput& in, const Candidates& candidates, std::span<const float> totals,
                    std::vector<uint32_t>& picked, std::vector<double>& scratch) const = 0;
};

enum class ProfileOutcome : uint8_t { kNotRun, kPicked, kEmpty };

// What the profiles that ran came to, by index of the profile.
class ProfileResults {
 public:
  size_t size() const { return outcomes_.size(); }
  ProfileOutcome OutcomeOf(uint32_t profile) const { return outcomes_[profile]; }
  // The first endpoint that the profile picked; nullptr when it picked none. Good until the next profile runs.
  const model::Target* PickOf(uint32_t profile) const {
    if (outcomes_[profile] != ProfileOutcome::kPicked) return nullptr;
    return &decision_->profiles[position_[profile]].targets.front();
  }

 private:
  friend class DecisionRun;
  std::vector<ProfileOutcome> outcomes_;
  std::vector<uint32_t> position_;  // in decision_->profiles, of those that picked
  const model::Decision* decision_ = nullptr;
};

// A profile to run next. `peer`: the profile whose pick the plugins see as DecisionInput::peer.
struct ProfileRun {
  static constexpr uint32_t kNoPeer = ~uint32_t{0};
  uint32_t profile = 0;
  uint32_t peer = kNoPeer;
};

// Says which profiles run, one round after another, and which result the request goes to.
class ProfileHandler {
 public:
  virtual ~ProfileHandler() = default;
  // Called once at load time: learns the profiles' indices, or says why it cannot work with them.
  virtual Status BindProfiles(std::span<const std::string> names) = 0;
  // Appends the profiles to run next; none ends the rounds. A profile runs once.
  virtual void Next(const DecisionInput& in, const ProfileResults& results, std::vector<ProfileRun>& next) const = 0;
  // The profile whose pick serves the request.
  virtual Result<uint32_t> Primary(const DecisionInput& in, const ProfileResults& results) const = 0;
};

// Says whether a stage (prefill, encode) runs on an endpoint of its own. `endpoint`: where the request would go
// otherwise; nullptr when that is not decided yet.
class Decider {
 public:
  virtual ~Decider() = default;
  virtual bool Disaggregate(const DecisionInput& in, const model::Target* endpoint) const = 0;
};

// What a plugin remembers of one request between dispatch and end.
struct RequestMemo {
  virtual ~RequestMemo() = default;
};

using HeaderList = std::vector<std::pair<std::string, std::string>>;

// Given out at dispatch, handed back with each event of the response. Must reach OnResponseEnd, or load stays charged.
struct Ticket {
  std::string request_id;
  std::vector<std::pair<uint32_t, std::unique_ptr<RequestMemo>>> memos;  // by plugin index
  TimePoint dispatched_at{};

  // What the plugins change of the request on its way to the endpoint: names that the client may not set are removed
  // first, then `set_headers` are set. Names are lower case.
  std::vector<std::string> remove_headers;
  HeaderList set_headers;
  uint16_t port = 0;  // of the endpoint's address, in place of its own; 0: its own

  RequestMemo* MemoOf(const Plugin& plugin) const {
    for (const auto& [index, memo] : memos) {
      if (index == plugin.index()) return memo.get();
    }
    return nullptr;
  }
};

struct ResponseHead {
  int status = 200;
  std::string_view served;  // "ip:port" of the endpoint that answers
};

struct ResponseEnd {
  bool failed = false;         // no usable answer came; nothing is learned from it
  int64_t prompt_tokens = -1;  // from the engine's usage; below 0: not known
  int64_t cached_tokens = -1;
  int64_t output_tokens = -1;  // of a stream without usage: its events
  TimePoint at{};              // when it ended; zero: not known, and then nothing that needs the time is learned
};

// Numbers that plugins report about an answered request, "<namespace>/<name>".
using ReportedAttributes = std::vector<std::pair<std::string, int64_t>>;

// Follows a request after the decision (upstream: PreRequest, ResponseReceived, ResponseStreaming, ResponseComplete).
class Hooks {
 public:
  virtual ~Hooks() = default;
  virtual void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const {
    (void)in, (void)decision, (void)ticket;
  }
  // Before the answer's head goes to the client; `add` gets the headers to set on it.
  virtual void OnResponseHead(const Ticket& ticket, const ResponseHead& head, PluginState* state,
                              HeaderList& add) const {
    (void)ticket, (void)head, (void)state, (void)add;
  }
  virtual void OnFirstChunk(const Ticket& ticket, PluginState* state) const { (void)ticket, (void)state; }
  virtual void OnEnd(const Ticket& ticket, const ResponseEnd& end, PluginState* state,
                     ReportedAttributes& attributes) const {
    (void)ticket, (void)end, (void)state, (void)attributes;
  }
};

// The factory of a plugin without parameters of its own.
template <class P>
std::unique_ptr<Plugin> MakePlain(const PluginInfo& info, std::string name, const Params&, codec::yaml::Problems&) {
  return std::make_unique<P>(info, std::move(name));
}
// The factory of a plugin that reads its parameters in its constructor and cannot fail.
template <class P>
std::unique_ptr<Plugin> MakeWithParams(const PluginInfo& info, std::string name, const Params& params,
                                       codec::yaml::Problems&) {
  return std::make_unique<P>(info, std::move(name), params);
}
// The factory of a plugin whose parameters need more checks than their table has.
template <class P>
std::unique_ptr<Plugin> MakeChecked(const PluginInfo& info, std::string name, const Params& params,
                                    codec::yaml::Problems& problems) {
  return std::make_unique<P>(info, std::move(name), params, problems);
}

}  // namespace sluice::schedule

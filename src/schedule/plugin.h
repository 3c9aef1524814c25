// Plugin interfaces: what a scheduling plugin can be. A plugin is one class with one or more of the roles below; it is
// immutable after loading, and what it must remember lives in a PluginState that the caller owns (one a PolicyState),
// so the same policy runs on several shards and in the simulator.
// Thread rule: const methods, any thread, each with its own PolicyState. Ownership: a Policy owns its plugins.
#pragma once

#include <cstdint>
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

class Plugin;

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

// What a caller may set for the memory of a state.
struct StateLimits {
  size_t prefix_entries_max = size_t{1} << 22;  // blocks remembered over all endpoints; about 50 bytes each
  size_t receipt_candidates_max = 64;           // endpoints that a receipt spells out; the rest is counted
};

// Data that a plugin reads.
struct Need {
  DataKind kind;
  std::string producer;  // instance name; empty: the kind's default producer
  bool required = true;  // false: read when some plugin produces it
};

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

  virtual std::vector<Need> Needs() const { return {}; }
  // The loader's answer to Needs(): the board slot of each, Board::kNoSlot when nobody produces an optional one.
  virtual void Bind(std::span<const int> slots) { (void)slots; }
  virtual std::unique_ptr<PluginState> MakeState(const StateLimits& limits) const {
    (void)limits;
    return nullptr;
  }
  // Endpoints came or went: forget those that are not in `members`.
  virtual void ForgetGone(const model::PoolMembers& members, PluginState& state) const { (void)members, (void)state; }

 private:
  const PluginInfo& info_;
  std::string name_;
  uint32_t index_ = 0;
};

using PluginStates = std::vector<std::unique_ptr<PluginState>>;

// What every role sees of one decision.
struct DecisionInput {
  const model::Request& request;
  const model::PoolView& pool;
  const Board& board;
  const PluginStates& states;
  TimePoint now;

  template <class State>
  State& StateOf(const Plugin& plugin) const {
    return static_cast<State&>(*states[plugin.index()]);
  }
};

// Computes data before profiles run.
class Producer {
 public:
  virtual ~Producer() = default;
  virtual DataKind Provides() const = 0;
  virtual std::unique_ptr<Data> MakeData() const = 0;
  // Fills `out`, which MakeData made. On failure the producers behind it are skipped and the request goes on.
  virtual Status Produce(const DecisionInput& in, const Candidates& candidates, Data& out) const = 0;
};

// Drops candidates: keep[i] is 1 at entry; set it to 0 to drop candidate i.
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

// Appends to `picked` the positions of the chosen candidates, best first. `scratch` is reused memory.
class Picker {
 public:
  virtual ~Picker() = default;
  virtual void Pick(std::span<const float> totals, Rng& rng, std::vector<uint32_t>& picked,
                    std::vector<double>& scratch) const = 0;
};

enum class ProfileOutcome : uint8_t { kNotRun, kPicked, kEmpty };

// Says which profiles run, one round after another, and which result the request goes to.
class ProfileHandler {
 public:
  virtual ~ProfileHandler() = default;
  // Checked at load time.
  virtual Status CheckProfiles(std::span<const std::string> names) const = 0;
  // Appends the profiles to run next; none ends the rounds. `outcomes` has one entry a profile.
  virtual void Next(const DecisionInput& in, std::span<const ProfileOutcome> outcomes,
                    std::vector<uint32_t>& next) const = 0;
  // The profile whose pick serves the request.
  virtual Result<uint32_t> Primary(const DecisionInput& in, std::span<const ProfileOutcome> outcomes) const = 0;
};

// What a plugin remembers of one request between dispatch and end.
struct RequestMemo {
  virtual ~RequestMemo() = default;
};

// Given out at dispatch, handed back with each event of the response. Must reach OnResponseEnd, or load stays charged.
struct Ticket {
  std::string request_id;
  std::vector<std::pair<uint32_t, std::unique_ptr<RequestMemo>>> memos;  // by plugin index

  RequestMemo* MemoOf(const Plugin& plugin) const {
    for (const auto& [index, memo] : memos) {
      if (index == plugin.index()) return memo.get();
    }
    return nullptr;
  }
};

struct ResponseEnd {
  bool failed = false;         // no usable answer came; nothing is learned from it
  int64_t prompt_tokens = -1;  // from the engine's usage; below 0: not known
  int64_t cached_tokens = -1;
  int64_t output_tokens = -1;
};

// Follows a request after the decision (upstream: PreRequest, ResponseStreaming, ResponseComplete).
class Hooks {
 public:
  virtual ~Hooks() = default;
  virtual void OnDispatch(const DecisionInput& in, const model::Decision& decision, Ticket& ticket) const = 0;
  virtual void OnFirstChunk(const Ticket& ticket, PluginState* state) const { (void)ticket, (void)state; }
  virtual void OnEnd(const Ticket& ticket, const ResponseEnd& end, PluginState* state) const {
    (void)ticket, (void)end, (void)state;
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

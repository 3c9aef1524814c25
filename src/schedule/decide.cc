#include "schedule/decide.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/text.h"

namespace sluice::schedule {

using model::Decision;
using model::PoolView;
using model::ProfileReceipt;
using model::ReceiptCandidate;
using model::Request;

// One decision: the steps of design §5 over the state's scratch memory.
class DecisionRun {
 public:
  DecisionRun(const Request& request, const PoolView& pool, PolicyState& state, TimePoint now, Rng& rng,
              Decision& decision)
      : policy_(*state.policy_),
        state_(state),
        pool_(pool),
        decision_(decision),
        receipt_(decision.receipt),
        in_{request, pool, state.board_, state.states_, now, rng} {}

  void Run() {
    Begin();
    GatherCandidates();
    if (state_.base_.empty()) return FailNoCandidates();
    if (!policy_.screeners.empty()) Screen();
    if (state_.base_.empty()) return FailNoCandidates();
    Produce();
    if (!Admit()) return FailRefused();
    RunProfiles();
    Conclude();
    if (decision_.ok()) CheckCondition();
  }

 private:
  void Begin();
  void GatherCandidates();
  int16_t VerdictOf(uint32_t row) const;
  void FailNoCandidates();
  void FailRefused();
  void Screen();
  void Produce();
  bool Admit();
  void RunProfiles();
  ProfileOutcome RunProfile(const Profile& profile, size_t ran);
  void RunFilters(const Profile& profile);
  void RunScorers(const Profile& profile);
  void OrderRest(size_t count);
  void FillReceipt(const Profile& profile, ProfileReceipt& out);
  void PutCandidate(ProfileReceipt& out, size_t index, uint32_t row, int16_t verdict, size_t scorers,
                    size_t position) const;
  void Conclude();
  void CheckCondition();
  void Fail(Code code, std::string message, std::string_view dropped_reason = {}) {
    decision_.error = Error{code, std::move(message), {}};
    receipt_.dropped_reason = dropped_reason;
  }

  const Policy& policy_;
  PolicyState& state_;
  const PoolView& pool_;
  Decision& decision_;
  model::Receipt& receipt_;
  DecisionInput in_;
  const PrefixMatch* match_ = nullptr;
  const LatencyPrediction* latency_ = nullptr;
  size_t profiles_used_ = 0;  // of decision_.profiles, which keeps its memory
  size_t receipts_used_ = 0;
  std::string empty_profiles_;
};

void DecisionRun::Begin() {
  decision_.serial = ++state_.serial_;
  decision_.error.reset();
  decision_.primary = 0;
  receipt_.request_id = in_.request.id;
  receipt_.model = in_.request.model;
  receipt_.target_model = in_.request.target_model;
  receipt_.priority = in_.request.priority;
  receipt_.fairness_id = in_.request.fairness_id;
  const model::TokenOrigin& origin = in_.request.tokens;
  receipt_.token_source = origin.source;
  receipt_.tokenize_us = origin.tokenize_us;
  receipt_.token_bytes_reused = origin.reused_bytes;
  receipt_.streaming = in_.request.streaming;
  receipt_.primary = 0;
  receipt_.block_size = 0;
  receipt_.notes.clear();
  receipt_.error.reset();
  receipt_.dropped_reason = {};
  receipt_.refused_by = model::Receipt::RefusedBy::kNobody;
  receipt_.members = pool_.members;
  receipt_.screeners = policy_.screener_names;
  receipt_.saturation = -1;
  receipt_.observed.reset();
  state_.board_.Clear();
  if (state_.members_version_ != pool_.members_version) {
    state_.members_version_ = pool_.members_version;
    for (const auto& plugin : policy_.plugins) {
      PluginState* own = state_.states_[plugin->index()].get();
      if (own != nullptr) plugin->ForgetGone(*pool_.members, *own);
    }
  }
}

int16_t DecisionRun::VerdictOf(uint32_t row) const {
  if (pool_.in_rotation[row] == 0) return model::kNotInRotation;
  const Request& request = in_.request;
  if (request.subset) {
    const std::string& address = pool_.endpoint(row).address;
    if (std::find(request.subset->begin(), request.subset->end(), address) == request.subset->end()) {
      return model::kNotInSubset;
    }
  }
  if (!request.excluded.empty() &&
      std::find(request.excluded.begin(), request.excluded.end(), pool_.id(row)) != request.excluded.end()) {
    return model::kExcludedEarlier;
  }
  return model::kCandidate;
}

void DecisionRun::GatherCandidates() {
  state_.base_.Reset(pool_);
  std::vector<int16_t>& verdicts = state_.base_verdicts_;
  const Request& request = in_.request;
  const std::vector<uint8_t>& up = pool_.in_rotation;
  if (request.subset || !request.excluded.empty()) {
    verdicts.resize(pool_.size());
    state_.base_.AddIf([&](uint32_t row) { return (verdicts[row] = VerdictOf(row)) == model::kCandidate; });
  } else if (up.empty() || std::memchr(up.data(), 0, up.size()) == nullptr) {
    verdicts.assign(pool_.size(), model::kCandidate);
    state_.base_.AddAll();
  } else {
    verdicts.resize(pool_.size());
    for (size_t row = 0; row < pool_.size(); ++row)
      verdicts[row] = up[row] != 0 ? model::kCandidate : model::kNotInRotation;
    state_.base_.AddIf([&](uint32_t row) { return up[row] != 0; });
  }
}

void DecisionRun::Screen() {
  // Each sees all candidates; what any of them drops is out.
  std::vector<uint8_t>& kept = state_.keep_;
  kept.assign(state_.base_.size(), 1);
  for (size_t i = 0; i < policy_.screeners.size(); ++i) {
    state_.screened_.assign(state_.base_.size(), 1);
    policy_.screeners[i]->Screen(in_, state_.base_, state_.screened_);
    for (size_t c = 0; c < kept.size(); ++c) {
      if (state_.screened_[c] != 0 || kept[c] == 0) continue;
      kept[c] = 0;
      state_.base_verdicts_[state_.base_.row(c)] = static_cast<int16_t>(model::kScreenedOut - static_cast<int>(i));
    }
  }
  state_.base_.Compact(kept, [](uint32_t) {});
}

void DecisionRun::FailNoCandidates() {
  size_t down = 0, outside = 0, tried = 0, screened = 0;
  for (const int16_t verdict : state_.base_verdicts_) {
    down += verdict == model::kNotInRotation;
    outside += verdict == model::kNotInSubset;
    tried += verdict == model::kExcludedEarlier;
    screened += verdict <= model::kScreenedOut;
  }
  std::string message =
      screened > 0 ? "screeners eliminated all endpoint candidates" : "no endpoint can take the request";
  message += ": the pool has " + std::to_string(pool_.size());
  if (down > 0) message += ", " + std::to_string(down) + " out of rotation";
  if (outside > 0) message += ", " + std::to_string(outside) + " outside the requested subset";
  if (tried > 0) message += ", " + std::to_string(tried) + " tried already";
  if (screened > 0) message += ", " + std::to_string(screened) + " screened out";
  Fail(Code::kUnavailable, std::move(message), "rejected-no-endpoints");
  receipt_.prompt_tokens = 0;
  FailRefused();
}

// Ends a decision before any profile ran.
void DecisionRun::FailRefused() {
  decision_.profiles.clear();
  receipt_.profiles.clear();
  receipt_.error = decision_.error;
}

// Without flow control only sheddable requests are refused for load; admitters have their own rules.
bool DecisionRun::Admit() {
  if (in_.request.priority < 0 && policy_.saturation_detector != nullptr) {
    receipt_.saturation = policy_.saturation_detector->Saturation(in_, state_.base_);
    if (receipt_.saturation >= 1) {
      Fail(Code::kResourceExhausted, "system saturated, sheddable request dropped", "rejected-saturated");
      receipt_.refused_by = model::Receipt::RefusedBy::kSaturation;
      return false;
    }
  }
  for (const Admitter* admitter : policy_.admitters) {
    if (const Status admitted = admitter->Admit(in_, state_.base_); !admitted) {
      Fail(Code::kResourceExhausted, "request cannot be admitted: " + admitted.error().message, "rejected-saturated");
      receipt_.refused_by = model::Receipt::RefusedBy::kAdmitter;
      return false;
    }
  }
  return true;
}

void DecisionRun::Produce() {
  if (const std::string& missing = in_.request.tokens.missing; !missing.empty()) {
    receipt_.notes.push_back("tokens are estimated from bytes: " + missing);
  }
  for (const BoundProducer& bound : policy_.producers) {
    Data& data = state_.board_.At(static_cast<size_t>(bound.slot));
    if (const Status produced = bound.producer->Produce(in_, state_.base_, data); !produced) {
      receipt_.notes.push_back("producer '" + bound.plugin->name() +
                               "' failed, it and those behind it count as nothing: " + produced.error().message);
      break;
    }
    data.present = true;
    if (!data.note.empty()) receipt_.notes.push_back("'" + bound.plugin->name() + "': " + data.note);
  }
  match_ = state_.board_.Get<PrefixMatch>(policy_.prefix_slot);
  latency_ = state_.board_.Get<LatencyPrediction>(policy_.latency_slot);
  const auto* tokens = state_.board_.Get<TokenizedPrompt>(policy_.tokens_slot);
  if (match_ != nullptr) receipt_.block_size = match_->block_size;
  receipt_.prompt_tokens_estimated = tokens == nullptr || tokens->estimated;
  if (receipt_.token_source.empty()) receipt_.token_source = receipt_.prompt_tokens_estimated ? "estimate" : "request";
  if (tokens != nullptr) {
    receipt_.prompt_tokens = static_cast<uint32_t>(tokens->size());
    return;
  }
  size_t estimate = 0;  // nobody asked for tokens: the same four bytes a token, without making them
  for (const model::Prompt& prompt : in_.request.prompts) {
    size_t bytes = 0;
    for (const std::string_view piece : prompt.text) bytes += piece.size();
    estimate += prompt.tokens.empty() ? (bytes + 3) / 4 : prompt.tokens.size();
  }
  receipt_.prompt_tokens = static_cast<uint32_t>(estimate);
}

void DecisionRun::RunProfiles() {
  ProfileResults& results = state_.results_;
  results.decision_ = &decision_;
  results.outcomes_.assign(policy_.profiles.size(), ProfileOutcome::kNotRun);
  results.position_.assign(policy_.profiles.size(), 0);
  for (size_t ran = 0; ran < policy_.profiles.size();) {
    state_.next_.clear();
    policy_.handler->Next(in_, results, state_.next_);
    if (state_.next_.empty()) break;
    for (const ProfileRun& run : state_.next_) {
      if (results.outcomes_[run.profile] != ProfileOutcome::kNotRun) continue;
      model::Target peer;  // a copy: running a profile may move the picks
      in_.peer = nullptr;
      if (run.peer != ProfileRun::kNoPeer && results.PickOf(run.peer) != nullptr) {
        peer = *results.PickOf(run.peer);
        in_.peer = &peer;
      }
      results.position_[run.profile] = static_cast<uint32_t>(profiles_used_);
      results.outcomes_[run.profile] = RunProfile(policy_.profiles[run.profile], ran);
      in_.peer = nullptr;
      if (results.outcomes_[run.profile] == ProfileOutcome::kEmpty) {
        empty_profiles_ += (empty_profiles_.empty() ? "'" : ", '") + policy_.profiles[run.profile].name + "'";
      }
      ++ran;
    }
  }
  decision_.profiles.resize(profiles_used_);
  receipt_.profiles.resize(receipts_used_);
}

ProfileOutcome DecisionRun::RunProfile(const Profile& profile, size_t ran) {
  if (receipt_.profiles.size() <= ran) receipt_.profiles.emplace_back();
  ProfileReceipt& receipt = receipt_.profiles[receipts_used_++];
  state_.left_.CopyFrom(state_.base_);
  state_.verdicts_.assign(state_.base_verdicts_.begin(), state_.base_verdicts_.end());
  state_.picked_.clear();
  state_.totals_.clear();
  RunFilters(profile);
  if (!state_.left_.empty()) {
    RunScorers(profile);
    profile.picker->Pick(in_, state_.left_, state_.totals_, state_.picked_, state_.pick_scratch_);
  }
  FillReceipt(profile, receipt);
  if (state_.picked_.empty()) return ProfileOutcome::kEmpty;
  if (decision_.profiles.size() <= profiles_used_) decision_.profiles.emplace_back();
  model::ProfileTargets& targets = decision_.profiles[profiles_used_++];
  targets.profile = profile.name;
  targets.targets.resize(state_.picked_.size());
  for (size_t i = 0; i < state_.picked_.size(); ++i) {
    const uint32_t row = state_.left_.row(state_.picked_[i]);
    targets.targets[i] = {pool_.id(row), row, pool_.members->endpoints[row]};
  }
  return ProfileOutcome::kPicked;
}

void DecisionRun::RunFilters(const Profile& profile) {
  for (size_t f = 0; f < profile.filters.size() && !state_.left_.empty(); ++f) {
    state_.keep_.assign(state_.left_.size(), 1);
    profile.filters[f]->Keep(in_, state_.left_, state_.keep_);
    state_.left_.Compact(state_.keep_, [&](uint32_t row) { state_.verdicts_[row] = static_cast<int16_t>(f); });
  }
}

void DecisionRun::RunScorers(const Profile& profile) {
  const size_t n = state_.left_.size();
  state_.matrix_.resize(n * profile.scorers.size());
  state_.totals_.assign(n, 0);
  for (size_t s = 0; s < profile.scorers.size(); ++s) {
    const std::span<float> raw = std::span<float>(state_.matrix_).subspan(s * n, n);
    profile.scorers[s].scorer->Score(in_, state_.left_, raw);
    const float weight = profile.scorers[s].weight;
    float* const totals = state_.totals_.data();
    for (size_t i = 0; i < n; ++i) {
      // NaN stays NaN in the matrix (the receipt says "none") and adds nothing.
      const float clamped = raw[i] < 0 ? 0 : raw[i] > 1 ? 1 : raw[i];
      raw[i] = clamped;
      totals[i] += clamped == clamped ? weight * clamped : 0;
    }
  }
}

// Writes place `index` of the receipt, which has whatever was there before. `position` counts for candidates only.
void DecisionRun::PutCandidate(ProfileReceipt& out, size_t index, uint32_t row, int16_t verdict, size_t scorers,
                               size_t position) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  const bool scored = verdict == model::kCandidate;
  ReceiptCandidate& candidate = out.candidates[index];
  candidate.endpoint = pool_.members->endpoints[row].get();
  candidate.verdict = verdict;
  candidate.matched_blocks = match_ != nullptr ? static_cast<uint32_t>(match_->match_blocks[row]) : 0;
  candidate.predicted_ttft_ms = latency_ != nullptr ? latency_->ttft_ms[row] : kNone;
  const TimePoint scraped = pool_.scraped_at[row];
  candidate.data_age_ms =
      scraped == model::EndpointState::kNever ? kInfinity : static_cast<float>((in_.now - scraped).count()) * 1e-6F;
  candidate.total = scored ? state_.totals_[position] : 0;
  const float* const raw = state_.matrix_.data();
  const size_t n = state_.left_.size();
  float* const scores = out.scores.data() + index * scorers;
  for (size_t s = 0; s < scorers; ++s) scores[s] = scored ? raw[s * n + position] : kNone;
  if (!out.cached.empty()) out.cached[index] = match_->ShareOf(pool_.id(row), row);
}

// A candidate as a number that sorts by total, highest first, and then by position. `total` is not NaN.
static uint64_t OrderKey(float total, uint32_t position) {
  const auto bits = std::bit_cast<uint32_t>(total + 0.0f);  // one zero instead of two
  const uint32_t ascending = (bits >> 31) != 0 ? ~bits : bits | 0x8000'0000;
  return uint64_t{~ascending} << 32 | position;
}
static uint32_t PositionOf(uint64_t key) { return static_cast<uint32_t>(key); }

// The best `count` candidates that are not picked, in order, into order_. Whoever is above the worst of the best so far
// is collected; when four times as many as are wanted came together, the rest of them go. So most candidates cost one
// comparison, and those in blocks without a hit a part of a vector's.
void DecisionRun::OrderRest(size_t count) {
  const size_t n = state_.left_.size();
  const float* const totals = state_.totals_.data();
  std::vector<uint64_t>& order = state_.order_;
  order.clear();
  if (count == 0) return;
  state_.keep_.assign(n, 1);
  for (const uint32_t position : state_.picked_) state_.keep_[position] = 0;
  const auto cut = [&] {
    std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count - 1), order.end());
    order.resize(count);
  };
  float above = -std::numeric_limits<float>::infinity();
  bool all = true;  // until the first cut
  constexpr size_t kBlock = 32;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const size_t end = std::min(begin + kBlock, n);
    uint32_t hits = 0;
    for (size_t i = begin; i < end; ++i) hits += totals[i] > above;
    if (hits == 0 && !all) continue;
    for (size_t i = begin; i < end; ++i) {
      // A later one that is only equal comes after the earlier ones.
      if ((all || totals[i] > above) && state_.keep_[i] != 0) {
        order.push_back(OrderKey(totals[i], static_cast<uint32_t>(i)));
      }
    }
    if (order.size() < 4 * count + kBlock) continue;
    cut();
    above = totals[PositionOf(order[count - 1])];
    all = false;
  }
  if (order.size() > count) cut();
  std::sort(order.begin(), order.end());
}

void DecisionRun::FillReceipt(const Profile& profile, ProfileReceipt& out) {
  const size_t limit = state_.options_.receipt_candidates_max;
  const size_t n = state_.left_.size(), scorers = profile.scorers.size();
  out.columns = profile.columns;
  out.picked = static_cast<uint32_t>(std::min(state_.picked_.size(), limit));
  out.runner_up = ProfileReceipt::kNone;

  // The picked, then the rest by total, then those that were dropped. Places are written over, not made anew.
  const std::vector<uint64_t>& order = state_.order_;
  OrderRest(limit - out.picked);
  const size_t rest = order.size();
  const size_t count = std::min(limit, pool_.size());
  out.candidates.resize(count);
  out.scores.resize(count * scorers);
  out.cached.resize(match_ != nullptr && match_->KnowsShares() ? count : 0);
  size_t at = 0;
  for (; at < out.picked; ++at) {
    PutCandidate(out, at, state_.left_.row(state_.picked_[at]), model::kCandidate, scorers, state_.picked_[at]);
  }
  if (rest > 0) out.runner_up = out.picked;
  for (size_t i = 0; i < rest; ++i, ++at) {
    const uint32_t position = PositionOf(order[i]);
    PutCandidate(out, at, state_.left_.row(position), model::kCandidate, scorers, position);
  }
  if (n < pool_.size()) {
    for (uint32_t row = 0; row < pool_.size() && at < count; ++row) {
      if (state_.verdicts_[row] != model::kCandidate) {
        PutCandidate(out, at++, row, state_.verdicts_[row], scorers, 0);
      }
    }
  }
  // A profile that picked without being able to fill its places (an external picker) has fewer.
  out.candidates.resize(at);
  if (!out.cached.empty()) out.cached.resize(at);
  out.scores.resize(at * scorers);
  out.omitted = static_cast<uint32_t>(pool_.size() - at);
}

void DecisionRun::Conclude() {
  const auto primary = policy_.handler->Primary(in_, state_.results_);
  if (!primary || state_.results_.OutcomeOf(*primary) != ProfileOutcome::kPicked) {
    if (!primary) {
      const bool full = primary.error().code == Code::kResourceExhausted;
      std::string message = primary.error().message;
      if (!empty_profiles_.empty()) {
        message += "; none is left after the filters of profile " + empty_profiles_ +
                   "; the receipt says which filter dropped which";
      }
      Fail(primary.error().code, std::move(message), full ? "rejected-saturated" : "");
    } else if (!empty_profiles_.empty()) {
      Fail(Code::kResourceExhausted,
           "no endpoints available for the given request: none is left after the filters of profile " +
               empty_profiles_ + "; the receipt says which filter dropped which",
           "rejected-saturated");
    } else {
      Fail(Code::kInternal, "the profile handler chose a profile that did not run");
    }
    receipt_.error = decision_.error;
    return;
  }
  const std::string& name = policy_.profiles[*primary].name;
  for (uint32_t i = 0; i < decision_.profiles.size(); ++i) {
    if (decision_.profiles[i].profile == name) decision_.primary = i;
  }
  for (uint32_t i = 0; i < receipt_.profiles.size(); ++i) {
    if (receipt_.profiles[i].columns->profile == name) receipt_.primary = i;
  }
}

// `prefer: if-available` (RFC 7240 syntax, parameters ignored): answer only from an endpoint that holds some of the
// prompt, so that a caller who would rather compute it elsewhere can.
void DecisionRun::CheckCondition() {
  const std::string_view prefer = in_.request.Header("prefer");
  if (prefer.empty()) return;
  bool wanted = false;
  for (size_t at = 0; at < prefer.size() && !wanted;) {
    const size_t comma = std::min(prefer.find(',', at), prefer.size());
    std::string_view token = prefer.substr(at, comma - at);
    token = TrimSpace(token.substr(0, token.find(';')));
    wanted = EqualsIgnoreCase(token, "if-available");
    at = comma + 1;
  }
  if (!wanted) return;
  if (match_ != nullptr && match_->match_blocks[decision_.pick().row] > 0) return;
  Fail(Code::kPreconditionFailed, "no decode worker has the requested KV cache");
  receipt_.error = decision_.error;
}

void ReadHeaders(const Policy& policy, Request& request) {
  for (const HeaderReader* reader : policy.header_readers) reader->ReadHeaders(request);
  if (request.fairness_id.empty()) request.fairness_id = "default-flow";
}

void Decide(const Request& request, const PoolView& pool, PolicyState& state, const Clock& clock, Rng& rng,
            Decision& decision) {
  const TimePoint start = clock.Now();
  DecisionRun(request, pool, state, start, rng, decision).Run();
  decision.receipt.unix_seconds = clock.UnixSeconds();
  decision.receipt.decide_ns = static_cast<uint64_t>((clock.Now() - start).count());
}

Decision Decide(const Request& request, const PoolView& pool, PolicyState& state, const Clock& clock, Rng& rng) {
  Decision decision;
  Decide(request, pool, state, clock, rng, decision);
  return decision;
}

Ticket OnDispatch(const Request& request, const PoolView& pool, PolicyState& state, const Decision& decision,
                  const Clock& clock) {
  SLUICE_CHECK(decision.serial == state.serial_, "OnDispatch belongs to the state's latest decision");
  SLUICE_CHECK(decision.ok(), "only a pick can be dispatched");
  Ticket ticket;
  ticket.request_id = request.id;
  ticket.dispatched_at = clock.Now();
  Rng no_choices(0);  // nothing is chosen any more
  const DecisionInput in{request, pool, state.board_, state.states_, ticket.dispatched_at, no_choices};
  for (const auto& [hooks, plugin] : state.policy_->hooks) hooks->OnDispatch(in, decision, ticket);
  ++state.open_tickets_;
  return ticket;
}

void OnFirstChunk(PolicyState& state, Ticket& ticket) {
  for (const auto& [hooks, plugin] : state.policy_->hooks) {
    hooks->OnFirstChunk(ticket, state.states_[plugin->index()].get());
  }
}

void OnResponseHead(PolicyState& state, const Ticket& ticket, const ResponseHead& head, HeaderList& headers) {
  for (const auto& [hooks, plugin] : state.policy_->hooks) {
    hooks->OnResponseHead(ticket, head, state.states_[plugin->index()].get(), headers);
  }
}

ReportedAttributes OnResponseEnd(PolicyState& state, Ticket&& ticket, const ResponseEnd& end) {
  const Ticket ended = std::move(ticket);
  ReportedAttributes attributes;
  for (const auto& [hooks, plugin] : state.policy_->hooks) {
    hooks->OnEnd(ended, end, state.states_[plugin->index()].get(), attributes);
  }
  SLUICE_CHECK(state.open_tickets_ > 0, "a ticket ends once");
  --state.open_tickets_;
  return attributes;
}

}  // namespace sluice::schedule

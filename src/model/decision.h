// Decision: where a request goes. Receipt: why, in numbers, complete enough to be read by a person and checked by a
// test. Thread rule: plain values; a Decision can be reused for the next request, and then allocates nothing.
// Ownership: receipts share members and column names by pointer, so they outlive pool and policy.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/endpoint.h"

namespace sluice::model {

struct PoolMembers;

// The names of a profile's filters and scorers: one object a policy, shared by all its receipts.
struct ReceiptColumns {
  struct Scorer {
    std::string name;
    float weight = 1;
  };
  std::string profile;
  std::vector<std::string> filters;
  std::vector<Scorer> scorers;
  std::string picker;
};

// What happened to an endpoint before scoring. Values of 0 and more are the index of the filter that dropped it.
enum Verdict : int16_t {
  kCandidate = -1,        // passed everything and was scored
  kNotInRotation = -2,    // health took it out
  kNotInSubset = -3,      // the caller's subset does not have it
  kExcludedEarlier = -4,  // this request tried it already
  kScreenedOut = -16,     // and below: kScreenedOut - i is the i-th of the receipt's screeners
};

// How an endpoint holds the part of the prompt that it holds, by a producer that knows; each block counts once, as the
// best it is held.
struct CacheShare {
  enum Way : uint8_t { kGpu, kCpu, kDisk, kShared, kOtherTier, kSpeculative, kHistory, kGuess, kWays };
  static std::string_view Name(Way way);  // "gpu", "cpu", "disk", "shared", "other", "speculative", "history", "guess"

  std::array<uint32_t, kWays> blocks{};
  uint32_t cached_tokens = 0;  // prompt tokens that the engine need not compute, if all of this is true
  uint32_t age_seconds = 0;    // since the deepest of the blocks was heard of or used
  std::string_view trust;      // kvindex::Name(Trust), a constant: "exact", or why not
};

// Trivial on purpose: receipts are copied with every decision.
struct ReceiptCandidate {
  const Endpoint* endpoint = nullptr;  // one of the receipt's members
  int16_t verdict = kCandidate;
  uint32_t matched_blocks = 0;
  float predicted_ttft_ms = std::numeric_limits<float>::quiet_NaN();  // NaN: no producer predicts it
  float data_age_ms = std::numeric_limits<float>::infinity();         // infinity: never scraped
  float total = 0;
};

struct ProfileReceipt {
  static constexpr uint32_t kNone = ~uint32_t{0};

  std::shared_ptr<const ReceiptColumns> columns;
  std::vector<ReceiptCandidate> candidates;  // the picked first, then by total; dropped ones last
  std::vector<float> scores;  // raw, clamped to 0..1: scores[candidate * scorers + scorer]; NaN: the scorer had none
  std::vector<CacheShare> cached;  // by candidate; empty: no producer knows more than matched_blocks
  uint32_t omitted = 0;            // endpoints left out because the receipt's limit was reached
  uint32_t picked = 0;             // how many leading candidates are the pick
  uint32_t runner_up = kNone;      // index into candidates

  const CacheShare* CachedOf(size_t candidate) const { return cached.empty() ? nullptr : &cached[candidate]; }
  std::span<const float> ScoresOf(size_t candidate) const {
    return std::span<const float>(scores).subspan(candidate * columns->scorers.size(), columns->scorers.size());
  }
};

// What became of the request after the decision; filled in by whoever relays it.
struct Observed {
  std::string served_by;  // endpoint id; differs from the pick after a failed connection
  int http_status = 0;
  double ttft_ms = -1;  // below 0: not known
  double e2e_ms = -1;
  int64_t cached_tokens = -1;
  std::vector<std::pair<std::string, int64_t>> attributes;  // what plugins reported
};

struct Receipt {
  std::string request_id;
  std::string model;
  std::string target_model;
  int32_t priority = 0;
  std::string fairness_id;
  bool streaming = false;
  double unix_seconds = 0;
  uint64_t decide_ns = 0;
  uint32_t prompt_tokens = 0;
  bool prompt_tokens_estimated = true;
  std::string token_source;                    // who made the tokens: "tokenizer", "vllm", "request", "estimate"
  uint64_t tokenize_us = 0;                    // before the decision
  uint64_t token_bytes_reused = 0;             // of the prompts' text: remembered from an earlier turn
  uint32_t block_size = 0;                     // tokens a matched block stands for; 0: no prefix producer ran
  std::shared_ptr<const PoolMembers> members;  // whom the candidates point to
  std::shared_ptr<const std::vector<std::string>> screeners;  // names; null: none
  double saturation = -1;                                     // asked for sheddable requests only; below 0: not asked
  std::vector<ProfileReceipt> profiles;                       // those that ran, in order
  uint32_t primary = 0;                                       // index into profiles
  double expected_ttft_ms = -1;                               // of the pick, by the latency model; below 0: not asked
  double expected_plus_minus_ms = 0;                          // mean absolute error that the model expects of itself
  std::vector<std::string> notes;   // what was missing and is therefore not in the scores: worth a log line
  std::optional<Error> error;       // why nothing was picked
  std::string_view dropped_reason;  // upstream's word for it, a constant; empty: none
  // Who refused it for load: the pool is saturated, or an admitter said no.
  enum class RefusedBy : uint8_t { kNobody, kSaturation, kAdmitter } refused_by = RefusedBy::kNobody;
  std::optional<Observed> observed;

  // Bytes this receipt holds by itself (not the shared endpoints).
  size_t ByteSize() const;
};

struct Target {
  EndpointId id;
  uint32_t row = 0;  // in the PoolView that was decided on
  std::shared_ptr<const Endpoint> endpoint;
};

struct ProfileTargets {
  std::string profile;
  std::vector<Target> targets;  // best first; more than one when the picker was asked for more
};

struct Decision {
  uint64_t serial = 0;  // ties the decision to the state that made it
  std::optional<Error> error;
  std::vector<ProfileTargets> profiles;  // those that produced targets
  uint32_t primary = 0;                  // index into profiles
  Receipt receipt;

  bool ok() const { return !error.has_value(); }
  // The endpoint to send to. Only when ok().
  const Target& pick() const { return profiles[primary].targets.front(); }
};

}  // namespace sluice::model

// Sampler: picks the next token of one request from its logits, with vLLM's meaning and order: bias and bans, then
// penalties, then temperature, min_p, top_k, top_p, then a draw. A constraint (grammar) is asked about the token that
// was drawn, and only when it refuses are other tokens tried, most likely first: asking about the whole vocabulary
// costs milliseconds. Pure but for the constraint. Thread rule: one owner. Cost: greedy one pass over the vocabulary;
// otherwise two passes and an exp() each; a refused token costs one call of the constraint over 64, 512, ... tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/rng.h"
#include "worker/engine/engine.h"

namespace sluice::worker {

// What may come next in a text that has to follow a grammar.
class Constraint {
 public:
  virtual ~Constraint() = default;
  // Sets allowed[i] for each token. Costs grow with the number of tokens.
  virtual void Check(std::span<const TokenId> tokens, std::vector<bool>& allowed) = 0;
  // The token has been generated. An error when the grammar cannot follow it.
  virtual Status Accept(TokenId token) = 0;
};

struct SamplerOptions {
  Sampling sampling;
  int min_tokens = 0;
  std::vector<TokenId> end_tokens;  // not drawn before min_tokens tokens; usually EOS and stop_token_ids
  std::vector<TokenId> banned;      // never drawn
  uint64_t seed = 0;                // used when the request has none
};

class Sampler {
 public:
  // `prompt` counts for repetition_penalty. The constraint may be null.
  Sampler(SamplerOptions options, std::span<const TokenId> prompt, std::unique_ptr<Constraint> constraint);

  // The next token from raw logits (one a vocabulary entry); nothing when the constraint allows none.
  std::optional<TokenId> Sample(std::span<const float> logits);
  // The token is part of the answer now.
  Status Accept(TokenId token);

 private:
  struct Candidate {
    TokenId token;
    float logit;  // after bias and penalties, divided by the temperature
  };

  std::span<const float> Modify(std::span<const float> logits);
  void Penalize(std::span<float> logits) const;
  std::optional<TokenId> Greedy(std::span<const float> logits);
  std::vector<Candidate> Truncate(std::span<const float> logits) const;
  void TruncateCandidates(std::vector<Candidate>& candidates) const;
  TokenId Draw(std::span<const Candidate> candidates);
  TokenId DrawAll(std::span<const float> logits);
  std::optional<TokenId> Constrained(std::span<const float> logits);
  bool Allows(TokenId token);

  SamplerOptions options_;
  std::unique_ptr<Constraint> constraint_;
  Rng rng_;
  int generated_ = 0;
  std::vector<bool> in_prompt_;  // only with repetition_penalty
  std::unordered_map<TokenId, int> counts_;
  std::vector<float> modified_;
  std::vector<bool> allowed_;
};

// log(sum(exp(logits))).
double LogSumExp(std::span<const float> logits);
// The sampled token's log-probability under the raw logits and the `top` most likely ones, most likely first.
TokenLogprob MakeLogprob(std::span<const float> logits, TokenId token, int top);

}  // namespace sluice::worker

#include "worker/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace sluice::worker {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr double kGreedyBelow = 1e-5;     // vLLM's _SAMPLING_EPS
constexpr double kTemperatureMin = 1e-2;  // vLLM raises smaller ones to this
constexpr size_t kFirstChunk = 64;
constexpr double kTailShare = 1e-4;  // of probability that a constrained draw may leave unlooked at

TokenId ArgMax(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<TokenId>(best);
}

}  // namespace

Sampler::Sampler(SamplerOptions options, std::span<const TokenId> prompt, std::unique_ptr<Constraint> constraint)
    : options_(std::move(options)),
      constraint_(std::move(constraint)),
      rng_(options_.sampling.seed.value_or(options_.seed)) {
  if (options_.sampling.repetition_penalty != 1.0) {
    for (TokenId t : prompt) {
      if (static_cast<size_t>(t) >= in_prompt_.size()) in_prompt_.resize(t + 1);
      in_prompt_[t] = true;
    }
  }
}

Status Sampler::Accept(TokenId token) {
  ++generated_;
  const Sampling& s = options_.sampling;
  if (s.presence_penalty != 0 || s.frequency_penalty != 0 || s.repetition_penalty != 1.0) ++counts_[token];
  return constraint_ ? constraint_->Accept(token) : Status{};
}

void Sampler::Penalize(std::span<float> logits) const {
  const Sampling& s = options_.sampling;
  if (s.repetition_penalty != 1.0) {
    const auto penalty = static_cast<float>(s.repetition_penalty);
    auto repeat = [&](TokenId t) { logits[t] = logits[t] > 0 ? logits[t] / penalty : logits[t] * penalty; };
    for (size_t t = 0; t < std::min(in_prompt_.size(), logits.size()); ++t) {
      if (in_prompt_[t]) repeat(static_cast<TokenId>(t));
    }
    for (const auto& [t, n] : counts_) {
      if (static_cast<size_t>(t) >= in_prompt_.size() || !in_prompt_[t]) repeat(t);
    }
  }
  for (const auto& [t, n] : counts_) {
    logits[t] -= static_cast<float>(s.frequency_penalty * n + s.presence_penalty);
  }
}

std::span<const float> Sampler::Modify(std::span<const float> logits) {
  const Sampling& s = options_.sampling;
  const bool hold = generated_ < options_.min_tokens && !options_.end_tokens.empty();
  const bool penalties = !counts_.empty() || (s.repetition_penalty != 1.0 && !in_prompt_.empty());
  if (s.logit_bias.empty() && options_.banned.empty() && !hold && !penalties) return logits;
  modified_.assign(logits.begin(), logits.end());
  const auto in_range = [&](TokenId t) { return t >= 0 && static_cast<size_t>(t) < modified_.size(); };
  for (const auto& [t, bias] : s.logit_bias) {
    if (in_range(t)) modified_[t] += bias;
  }
  for (TokenId t : options_.banned) {
    if (in_range(t)) modified_[t] = kNever;
  }
  if (hold) {
    for (TokenId t : options_.end_tokens) {
      if (in_range(t)) modified_[t] = kNever;
    }
  }
  if (penalties) Penalize(modified_);
  return modified_;
}

bool Sampler::Allows(TokenId token) {
  constraint_->Check(std::span(&token, 1), allowed_);
  return allowed_[0];
}

std::optional<TokenId> Sampler::Sample(std::span<const float> raw) {
  const std::span<const float> logits = Modify(raw);
  const Sampling& s = options_.sampling;
  TokenId token;
  if (s.temperature < kGreedyBelow) {
    token = ArgMax(logits);
  } else if (s.min_p <= 0 && s.top_k <= 0 && s.top_p >= 1.0) {
    token = DrawAll(logits);
  } else {
    token = Draw(Truncate(logits));
  }
  if (!constraint_ || (Allows(token) && logits[token] != kNever)) return token;
  return Constrained(logits);
}

// Draws from the whole vocabulary: exp() of each, one running sum.
TokenId Sampler::DrawAll(std::span<const float> logits) {
  const float inverse = static_cast<float>(1.0 / std::max(options_.sampling.temperature, kTemperatureMin));
  const float top = *std::max_element(logits.begin(), logits.end());
  std::vector<float> p(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    p[i] = std::exp((logits[i] - top) * inverse);
    sum += p[i];
  }
  double left = rng_.Uniform() * sum;
  size_t last = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] <= 0) continue;
    last = i;
    left -= p[i];
    if (left < 0) break;
  }
  return static_cast<TokenId>(last);
}

// Draws from candidates with their softmax.
TokenId Sampler::Draw(std::span<const Candidate> candidates) {
  float top = kNever;
  for (const auto& c : candidates) top = std::max(top, c.logit);
  double sum = 0;
  for (const auto& c : candidates) sum += std::exp(c.logit - top);
  double left = rng_.Uniform() * sum;
  for (const auto& c : candidates) {
    left -= std::exp(c.logit - top);
    if (left < 0) return c.token;
  }
  return candidates.back().token;
}

std::vector<Sampler::Candidate> Sampler::Truncate(std::span<const float> logits) const {
  const Sampling& s = options_.sampling;
  const float inverse = static_cast<float>(1.0 / std::max(s.temperature, kTemperatureMin));
  const float top = *std::max_element(logits.begin(), logits.end());
  const float floor = s.min_p > 0 ? top * inverse + static_cast<float>(std::log(s.min_p)) : kNever;
  std::vector<Candidate> out;
  out.reserve(s.min_p > 0 ? 256 : logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const float l = logits[i] * inverse;
    if (l >= floor && l != kNever) out.push_back({static_cast<TokenId>(i), l});
  }
  if (out.empty()) out.push_back({ArgMax(logits), 0});
  TruncateCandidates(out);
  return out;
}

// top_k, then top_p over what is left.
void Sampler::TruncateCandidates(std::vector<Candidate>& c) const {
  const Sampling& s = options_.sampling;
  const auto more = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  if (s.top_k > 0 && static_cast<size_t>(s.top_k) < c.size()) {
    std::nth_element(c.begin(), c.begin() + (s.top_k - 1), c.end(), more);
    c.resize(s.top_k);
  }
  if (s.top_p >= 1.0) return;
  const float top = std::max_element(c.begin(), c.end(), [](auto& a, auto& b) { return a.logit < b.logit; })->logit;
  double sum = 0;
  for (const auto& x : c) sum += std::exp(x.logit - top);
  // Sort only as much as the nucleus needs.
  size_t sorted = 0, keep = 0;
  double mass = 0;
  for (size_t want = kFirstChunk; keep == 0; want *= 8) {
    const size_t end = std::min(want, c.size());
    if (end < c.size()) std::nth_element(c.begin() + sorted, c.begin() + end, c.end(), more);
    std::sort(c.begin() + sorted, c.begin() + end, more);
    for (; sorted < end; ++sorted) {
      mass += std::exp(c[sorted].logit - top) / sum;
      if (mass >= s.top_p) {
        keep = sorted + 1;
        break;
      }
    }
    if (end == c.size() && keep == 0) keep = c.size();
  }
  c.resize(std::max<size_t>(1, keep));
}

// The constraint refused the free choice: look at tokens from the most likely down, a chunk at a time, until enough of
// the allowed probability is known (greedy: until the first), then choose among those.
std::optional<TokenId> Sampler::Constrained(std::span<const float> logits) {
  const Sampling& s = options_.sampling;
  const bool greedy = s.temperature < kGreedyBelow;
  const float inverse = greedy ? 1.0F : static_cast<float>(1.0 / std::max(s.temperature, kTemperatureMin));
  std::vector<Candidate> all;
  all.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != kNever) all.push_back({static_cast<TokenId>(i), logits[i] * inverse});
  }
  if (all.empty()) return std::nullopt;
  const auto more = [](const Candidate& a, const Candidate& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  const float top = std::max_element(all.begin(), all.end(), [](auto& a, auto& b) { return a.logit < b.logit; })->logit;
  double rest = 0;
  for (const auto& x : all) rest += std::exp(x.logit - top);

  std::vector<Candidate> good;
  double good_mass = 0;
  std::vector<TokenId> tokens;
  size_t done = 0;
  for (size_t want = kFirstChunk; done < all.size(); want *= 8) {
    const size_t end = std::min(want, all.size());
    if (end < all.size()) std::nth_element(all.begin() + done, all.begin() + end, all.end(), more);
    std::sort(all.begin() + done, all.begin() + end, more);
    tokens.clear();
    for (size_t i = done; i < end; ++i) tokens.push_back(all[i].token);
    constraint_->Check(tokens, allowed_);
    for (size_t i = done; i < end; ++i) {
      const double p = std::exp(all[i].logit - top);
      rest -= p;
      if (!allowed_[i - done]) continue;
      if (greedy) return all[i].token;
      good.push_back(all[i]);
      good_mass += p;
    }
    done = end;
    if (!good.empty() && rest <= kTailShare * good_mass) break;
  }
  if (good.empty()) return std::nullopt;
  if (s.min_p > 0) {
    const float floor = good.front().logit + static_cast<float>(std::log(s.min_p));
    std::erase_if(good, [&](const Candidate& x) { return x.logit < floor; });
  }
  TruncateCandidates(good);
  return Draw(good);
}

double LogSumExp(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float l : logits) sum += std::exp(l - top);
  return top + std::log(sum);
}

TokenLogprob MakeLogprob(std::span<const float> logits, TokenId token, int top) {
  const double norm = LogSumExp(logits);
  TokenLogprob out{token, static_cast<float>(logits[token] - norm), {}};
  if (top <= 0) return out;
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const size_t n = std::min<size_t>(top, order.size());
  std::partial_sort(order.begin(), order.begin() + n, order.end(),
                    [&](TokenId a, TokenId b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  for (size_t i = 0; i < n; ++i) out.top.push_back({order[i], static_cast<float>(logits[order[i]] - norm)});
  return out;
}

}  // namespace sluice::worker

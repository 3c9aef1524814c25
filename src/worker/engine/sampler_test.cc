#include "worker/engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace sluice::worker {
namespace {

// Allows the tokens of a set; counts how many it was asked about.
class AllowOnly : public Constraint {
 public:
  explicit AllowOnly(std::set<TokenId> tokens, size_t* asked = nullptr) : tokens_(std::move(tokens)), asked_(asked) {}
  void Check(std::span<const TokenId> tokens, std::vector<bool>& allowed) override {
    allowed.clear();
    for (TokenId t : tokens) allowed.push_back(tokens_.contains(t));
    if (asked_ != nullptr) *asked_ += tokens.size();
  }
  Status Accept(TokenId) override { return {}; }

 private:
  std::set<TokenId> tokens_;
  size_t* asked_;
};

Sampling Greedy() {
  Sampling s;
  s.temperature = 0;
  return s;
}

Sampler Make(Sampling s, std::unique_ptr<Constraint> c = nullptr, std::vector<TokenId> prompt = {}) {
  SamplerOptions o;
  o.sampling = std::move(s);
  o.seed = 42;
  return Sampler(std::move(o), prompt, std::move(c));
}

std::vector<double> Frequencies(Sampler& s, const std::vector<float>& logits, int n) {
  std::vector<double> out(logits.size());
  for (int i = 0; i < n; ++i) out[*s.Sample(logits)] += 1.0 / n;
  return out;
}

TEST(Sampler, GreedyTakesTheLargest) {
  Sampler s = Make(Greedy());
  EXPECT_EQ(s.Sample(std::vector<float>{1, 5, 3}), 1);
}

TEST(Sampler, DrawsWithTheSoftmaxOfTheTemperature) {
  const std::vector<float> logits{0, 1, 2};
  for (double temperature : {0.5, 1.0, 2.0}) {
    Sampling p;
    p.temperature = temperature;
    p.seed = 1;
    Sampler s = Make(p);
    const auto f = Frequencies(s, logits, 40'000);
    double sum = 0;
    for (float l : logits) sum += std::exp(l / temperature);
    for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(f[i], std::exp(logits[i] / temperature) / sum, 0.01) << temperature;
  }
}

TEST(Sampler, SameSeedSameTokens) {
  Sampling p;
  p.seed = 99;
  Sampler a = Make(p), b = Make(p);
  p.seed = 100;
  Sampler c = Make(p);
  const std::vector<float> logits(1000, 0.0F);
  bool differs = false;
  for (int i = 0; i < 50; ++i) {
    const auto t = a.Sample(logits);
    EXPECT_EQ(t, b.Sample(logits));
    differs |= t != c.Sample(logits);
  }
  EXPECT_TRUE(differs);
}

TEST(Sampler, TruncationsKeepWhatTheySay) {
  const std::vector<float> logits{std::log(0.5F), std::log(0.3F), std::log(0.15F), std::log(0.05F)};
  const auto support = [&](Sampling p) {
    p.seed = 3;
    Sampler s = Make(p);
    std::set<TokenId> seen;
    for (int i = 0; i < 3000; ++i) seen.insert(*s.Sample(logits));
    return seen;
  };
  Sampling p;
  p.top_k = 2;
  EXPECT_EQ(support(p), (std::set<TokenId>{0, 1}));
  p = {};
  p.top_p = 0.79;
  EXPECT_EQ(support(p), (std::set<TokenId>{0, 1}));
  p.top_p = 0.81;
  EXPECT_EQ(support(p), (std::set<TokenId>{0, 1, 2}));
  p.top_p = 1e-9;
  EXPECT_EQ(support(p), (std::set<TokenId>{0})) << "one token always stays";
  p = {};
  p.min_p = 0.25;  // of 0.5
  EXPECT_EQ(support(p), (std::set<TokenId>{0, 1, 2}));
  p.min_p = 0.35;
  EXPECT_EQ(support(p), (std::set<TokenId>{0, 1}));
}

TEST(Sampler, NucleusOverALargeFlatVocabulary) {
  Sampling p;
  p.top_p = 0.5;
  p.seed = 5;
  Sampler s = Make(p);
  const std::vector<float> logits(800, 0.0F);
  std::set<TokenId> seen;
  for (int i = 0; i < 10'000; ++i) seen.insert(*s.Sample(logits));
  EXPECT_LE(seen.size(), 401U);
  EXPECT_GE(seen.size(), 399U);
}

TEST(Sampler, PenaltiesAreVllms) {
  // repetition: prompt and answer, divides positive and multiplies negative logits; the others count the answer only.
  Sampling p = Greedy();
  p.repetition_penalty = 2.0;
  Sampler s = Make(p, nullptr, {0});
  EXPECT_EQ(s.Sample(std::vector<float>{3.0F, 1.6F, -5}), 1) << "3/2 < 1.6";
  EXPECT_TRUE(s.Accept(1).has_value());
  EXPECT_EQ(s.Sample(std::vector<float>{3.0F, 2.9F, -5}), 0) << "both halved";

  p = Greedy();
  p.presence_penalty = 1.0;
  Sampler presence = Make(p, nullptr, {0});
  EXPECT_EQ(presence.Sample(std::vector<float>{3.0F, 2.5F}), 0) << "the prompt does not count";
  EXPECT_TRUE(presence.Accept(0).has_value());
  EXPECT_EQ(presence.Sample(std::vector<float>{3.0F, 2.5F}), 1);

  p = Greedy();
  p.frequency_penalty = 0.4;
  Sampler frequency = Make(p);
  EXPECT_TRUE(frequency.Accept(0).has_value());
  EXPECT_EQ(frequency.Sample(std::vector<float>{3.0F, 2.5F}), 0);
  EXPECT_TRUE(frequency.Accept(0).has_value());
  EXPECT_EQ(frequency.Sample(std::vector<float>{3.0F, 2.5F}), 1) << "twice 0.4";
}

TEST(Sampler, BiasAndMinTokens) {
  SamplerOptions o;
  o.sampling = Greedy();
  o.sampling.logit_bias = {{2, 10.0F}};
  o.min_tokens = 1;
  o.end_tokens = {2};
  o.banned = {0};
  Sampler s(o, {}, nullptr);
  const std::vector<float> logits{9, 1, 0};
  EXPECT_EQ(s.Sample(logits), 1) << "2 would end the answer too early, 0 is banned";
  EXPECT_TRUE(s.Accept(1).has_value());
  EXPECT_EQ(s.Sample(logits), 2);
}

TEST(Sampler, ConstraintIsAskedAboutTheDrawnTokenFirst) {
  std::vector<float> logits(5000, 0.0F);
  logits[7] = 5;
  size_t asked = 0;
  Sampler fits = Make(Greedy(), std::make_unique<AllowOnly>(std::set<TokenId>{7}, &asked));
  EXPECT_EQ(fits.Sample(logits), 7);
  EXPECT_EQ(asked, 1U);
  asked = 0;
  logits[9] = 4;
  Sampler next = Make(Greedy(), std::make_unique<AllowOnly>(std::set<TokenId>{9, 4000}, &asked));
  EXPECT_EQ(next.Sample(logits), 9);
  EXPECT_LE(asked, 65U) << "the second best is in the first chunk";
  Sampler rare = Make(Greedy(), std::make_unique<AllowOnly>(std::set<TokenId>{4000}));
  EXPECT_EQ(rare.Sample(logits), 4000);
  Sampler none = Make(Greedy(), std::make_unique<AllowOnly>(std::set<TokenId>{}));
  EXPECT_FALSE(none.Sample(logits));
}

TEST(Sampler, ConstrainedDrawKeepsTheProportions) {
  Sampling p;
  p.seed = 11;
  Sampler s = Make(p, std::make_unique<AllowOnly>(std::set<TokenId>{1, 2}));
  const std::vector<float> logits{3, std::log(3.0F), 0, 2};
  const auto f = Frequencies(s, logits, 40'000);
  EXPECT_NEAR(f[1], 0.75, 0.01);
  EXPECT_NEAR(f[2], 0.25, 0.01);
}

TEST(Sampler, LogprobsAreOfTheRawLogits) {
  const std::vector<float> logits{std::log(0.1F), std::log(0.6F), std::log(0.3F)};
  const TokenLogprob l = MakeLogprob(logits, 0, 2);
  EXPECT_NEAR(l.logprob, std::log(0.1), 1e-5);
  ASSERT_EQ(l.top.size(), 2U);
  EXPECT_EQ(l.top[0].token, 1);
  EXPECT_NEAR(l.top[0].logprob, std::log(0.6), 1e-5);
  EXPECT_EQ(l.top[1].token, 2);
}

}  // namespace
}  // namespace sluice::worker

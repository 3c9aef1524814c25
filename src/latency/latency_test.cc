// The model's edges: change, outliers, slow replicas, garbage, limits, determinism.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "latency/learner_fixture.h"
#include "latency/model.h"
#include "latency/prefill_ledger.h"

namespace sluice::latency {
namespace {

using testing::Learner;
using testing::Mean;
using testing::Scenario;

constexpr model::EndpointId kFirst{0, 1};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Scenario L40s() {
  return {.engine = {.name = "L40S",
                     .prefill_tokens_per_s = 6'000,
                     .weights_ms = 23.5,
                     .sequence_ms = 0.2,
                     .resident_token_ms = 190e-6,
                     .overhead_ms = 8,
                     .chunk = 512},
          .traffic = {.requests_per_s = 1, .prompt_min = 200, .prompt_max = 4'000, .hit_probability = 0.5},
          .kind = "llama-8b|L40S|vllm"};
}

Features Prompt(float tokens, float cached = 0) {
  return {.request = {.prompt_tokens = tokens, .output_tokens = 100}, .endpoint = {.cached_tokens = cached}};
}

std::span<const float> Last(const std::vector<float>& values, size_t n) {
  return std::span(values).subspan(values.size() - n);
}

TEST(Model, LearnsTheEnginesRates) {
  Learner learner(L40s(), 1);
  learner.fleet.Run(1'000);
  const std::vector<KindDescription> rows = learner.model.Describe();
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].name, "llama-8b|L40S|vllm");
  EXPECT_NEAR(rows[0].prefill_tokens_per_s, 6'000, 1'200);  // less the parts of chunks that stay empty
  EXPECT_NEAR(rows[0].step_ms, 23.7, 2);
  EXPECT_NEAR(rows[0].step_ms_per_1k_resident, 0.19, 0.06);
  EXPECT_GT(rows[0].ttft.samples, 900U);
  EXPECT_EQ(rows[0].ttft.window, 256U);
  EXPECT_LT(std::abs(rows[0].ttft.bias), 0.06);
}

TEST(Model, FollowsAnEngineThatGetsTwiceAsSlow) {
  Scenario scenario = L40s();
  scenario.traffic.requests_per_s = 0.5;  // so that the slow one keeps up as well
  double soon = 0;
  double later = 0;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Learner learner(scenario, seed);
    learner.fleet.Run(400);
    testing::EngineSpec& spec = learner.fleet.spec(0);
    spec.prefill_tokens_per_s /= 2;
    spec.weights_ms *= 2;
    spec.sequence_ms *= 2;
    spec.resident_token_ms *= 2;
    const size_t before = learner.ttft_errors.size();
    learner.fleet.Run(202);
    const std::span<const float> errors = std::span<const float>(learner.ttft_errors).subspan(before);
    soon += Mean(errors.subspan(30, 50)) / 5;
    later += Mean(errors.subspan(80)) / 5;
  }
  std::printf("2x slower: MAPE of requests 30-80 %.1f %%, of 80-200 %.1f %%\n", soon * 100, later * 100);
  EXPECT_LE(soon, 0.2);
  EXPECT_LE(later, 0.12);  // from the start on the slow engine: 0.09
}

TEST(Model, WildMeasurementsDoNotSpoilIt) {
  Learner learner(L40s(), 3);
  Rng rng(4);
  std::vector<float> errors;
  learner.fleet.on_first_token = [&](const testing::TtftSeen& seen) {
    auto ttft = static_cast<float>(seen.ttft_ms);
    const float predicted = learner.model.Predict(learner.kind, seen.endpoint, seen.features).ttft_ms;
    errors.push_back(std::abs(predicted - ttft) / ttft);
    const uint64_t dice = rng.Below(100);
    if (dice < 4) ttft *= 30;    // the network stood still
    if (dice >= 90) ttft /= 30;  // an answer that was no answer
    learner.model.ObserveTtft(learner.kind, seen.endpoint, seen.features, ttft);
  };
  learner.fleet.Run(600);
  EXPECT_LE(Mean(Last(errors, 350)), 0.15);
}

TEST(Model, ASlowReplicaShows) {
  Scenario scenario = L40s();
  scenario.traffic.replicas = 4;
  scenario.traffic.requests_per_s = 2;
  Learner learner(scenario, 5);
  testing::EngineSpec& slow = learner.fleet.spec(2);
  slow.prefill_tokens_per_s /= 2;
  slow.weights_ms *= 2;
  slow.sequence_ms *= 2;
  slow.resident_token_ms *= 2;
  learner.fleet.Run(800);
  const Features features = Prompt(2'000);
  const Prediction fast = learner.model.Predict(learner.kind, {0, 1}, features);
  const Prediction bad = learner.model.Predict(learner.kind, {2, 1}, features);
  EXPECT_GT(bad.ttft_ms, fast.ttft_ms * 1.5F);
  EXPECT_LT(bad.ttft_ms, fast.ttft_ms * 2.4F);
  EXPECT_GT(bad.itl_ms, fast.itl_ms * 1.6F);
  EXPECT_LE(Mean(Last(learner.ttft_errors, 400)), 0.15);
  // Whoever gets its slot next is not blamed for it.
  const Prediction successor = learner.model.Predict(learner.kind, {2, 2}, features);
  const Prediction unknown = learner.model.Predict(learner.kind, {60, 1}, features);
  EXPECT_EQ(successor.ttft_ms, unknown.ttft_ms);
  learner.model.ObserveTtft(learner.kind, {2, 2}, features, successor.ttft_ms);
  EXPECT_NEAR(learner.model.Predict(learner.kind, {2, 2}, features).ttft_ms, unknown.ttft_ms, unknown.ttft_ms * 0.05F);
}

TEST(Model, EndpointsBeyondTheLimitShareTheirKind) {
  Model model({.kinds_max = 2, .endpoints_max = 4});
  const KindId kind = model.Intern("m|H100|vllm");
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(model.ObserveTtft(kind, {3, 1}, Prompt(2'000), 100));
    EXPECT_TRUE(model.ObserveTtft(kind, {4, 1}, Prompt(2'000), 200));  // the first beyond
  }
  EXPECT_LT(model.Predict(kind, {3, 1}, Prompt(2'000)).ttft_ms, model.Predict(kind, {4, 1}, Prompt(2'000)).ttft_ms);
  EXPECT_EQ(model.Predict(kind, {4, 1}, Prompt(2'000)).ttft_ms, model.Predict(kind, {999, 7}, Prompt(2'000)).ttft_ms);
}

TEST(Model, EachTermPullsItsWay) {
  Model model({.kinds_max = 2, .endpoints_max = 4});
  const KindId kind = model.Intern("m|H100|vllm");
  const auto ttft = [&](const EndpointFeatures& e) {
    return model.Predict(kind, kFirst, {.request = {.prompt_tokens = 4'000, .encoder_tokens = 500}, .endpoint = e})
        .ttft_ms;
  };
  const float idle = ttft({});
  EXPECT_NEAR(idle, 25 + 4'000 / 15.928F + 8 + 500 / 15.928F, 1);  // the priors, by hand
  EXPECT_LT(ttft({.cached_tokens = 3'000}), idle / 2);
  EXPECT_LT(ttft({.encoder_cached_tokens = 500}), idle);
  EXPECT_GT(ttft({.cached_tokens = 9'000}), 0);
  EXPECT_GT(ttft({.prefill_tokens_ahead = 8'000, .prefill_requests_ahead = 1}), idle + 450);
  EXPECT_GT(ttft({.waiting = 5}), idle + 100);
  EXPECT_GT(ttft({.running = 20, .resident_tokens = 1e5F}), idle + 10);
  EXPECT_GT(ttft({.transfer_bytes = 1.21e9F}), idle + 95);
  // Its slots are full: somebody must end first.
  EXPECT_GT(ttft({.running = 8, .decode_requests = 8, .slots = 8}),
            ttft({.running = 8, .decode_requests = 8, .slots = 16}));
  // Work that is done already is not waited for, and one cannot wait less than not at all.
  const EndpointFeatures busy = {.prefill_tokens_ahead = 8'000, .prefill_requests_ahead = 1, .prefill_elapsed_ms = 100};
  EXPECT_NEAR(ttft({.prefill_tokens_ahead = 8'000, .prefill_requests_ahead = 1}) - ttft(busy), 100, 0.1);
  EXPECT_NEAR(ttft({.prefill_tokens_ahead = 8'000, .prefill_requests_ahead = 1, .prefill_elapsed_ms = 1e6F}), idle,
              0.1);
}

TEST(Model, ExpectsTheInterruptionsThatItSaw) {
  Model quiet({.kinds_max = 2, .endpoints_max = 4});
  Model busy({.kinds_max = 2, .endpoints_max = 4});
  const KindId kind = quiet.Intern("m|L40S|vllm");
  ASSERT_EQ(busy.Intern("m|L40S|vllm"), kind);
  Rng rng(12);
  for (int i = 0; i < 200; ++i) {
    const auto running = static_cast<float>(1 + rng.Below(10));
    const float step = 20 + running;
    const auto prompts = static_cast<float>(rng.Below(100));
    quiet.ObserveItl(kind, kFirst, {.running = running}, step);
    busy.ObserveItl(kind, kFirst, {.running = running, .prefill_tokens_per_token = prompts}, step + 0.4F * prompts);
  }
  const Features alone = {.request = {.prompt_tokens = 10, .output_tokens = 10}, .endpoint = {}};
  EXPECT_NEAR(quiet.Predict(kind, kFirst, alone).itl_ms, 21, 2);
  EXPECT_NEAR(busy.Predict(kind, kFirst, alone).itl_ms, 21 + 0.4F * 37, 7);  // 37: geometric mean
}

TEST(Model, RefusesGarbageAndCountsIt) {
  Model model({.kinds_max = 2, .endpoints_max = 4});
  const KindId kind = model.Intern("m|H100|vllm");
  const std::string before = model.Save();
  uint64_t refused = 0;
  for (const float bad : {kNan, kInfinity, -kInfinity, -1.0F, 0.0F, 1e9F}) {
    EXPECT_FALSE(model.ObserveTtft(kind, kFirst, Prompt(100), bad));
    EXPECT_FALSE(model.ObserveItl(kind, kFirst, {.running = 1}, bad));
    ++refused;
  }
  for (const float bad : {kNan, kInfinity, -1.0F, 1e9F}) {
    EXPECT_FALSE(model.ObserveTtft(kind, kFirst, Prompt(bad), 100));
    EXPECT_FALSE(model.ObserveTtft(kind, kFirst, Prompt(100, bad), 100));
    EXPECT_FALSE(model.ObserveItl(kind, kFirst, {.running = bad}, 100));
    EXPECT_FALSE(model.ObserveItl(kind, kFirst, {.running = 1, .resident_tokens = bad}, 100));
    EXPECT_FALSE(model.ObserveTtft(kind, kFirst, Prompt(100), 100, bad));
    EXPECT_FALSE(model.ObserveItl(kind, kFirst, {.running = 1, .prefill_tokens_per_token = bad}, 100));
    refused += 3;
  }
  EXPECT_EQ(model.TtftErrors(kind).refused, refused);
  EXPECT_EQ(model.ItlErrors(kind).refused, refused);
  EXPECT_EQ(model.TtftErrors(kind).samples, 0U);
  EXPECT_EQ(model.Save(), before);
}

TEST(Model, ExtremesStayFinite) {
  Model model({.kinds_max = 2, .endpoints_max = 4});
  const KindId kind = model.Intern("m|H100|vllm");
  Rng rng(6);
  const float values[] = {0, 1, 1e-30F, 1e5F, 1e6F, kTokensMax, kTtftMsMax, kItlMsMax};
  const auto any = [&] { return values[rng.Below(std::size(values))]; };
  for (int i = 0; i < 20'000; ++i) {
    Features f = {.request = {any(), any(), any()},
                  .endpoint = {any(), any(), any(), any(), any(), any(), any(), any(), any(), any(), any()}};
    model.ObserveTtft(kind, kFirst, f, any());
    model.ObserveItl(kind, kFirst, {any(), any(), any()}, any());
    f.endpoint.waiting = i % 3 == 0 ? kNan : any();
    f.request.prompt_tokens = i % 5 == 0 ? kInfinity : any();
    const Prediction p = model.Predict(kind, kFirst, f);
    ASSERT_TRUE(std::isfinite(p.ttft_ms) && p.ttft_ms > 0) << i;
    ASSERT_TRUE(std::isfinite(p.itl_ms) && p.itl_ms > 0) << i;
  }
  EXPECT_GT(model.TtftErrors(kind).samples, 100U);
}

TEST(Model, DoubtShrinksWithExperience) {
  Model model({.kinds_max = 2, .endpoints_max = 4});
  const KindId kind = model.Intern("m|H100|vllm");
  const Prediction at_first = model.Predict(kind, kFirst, Prompt(1'000));
  EXPECT_FLOAT_EQ(at_first.ttft_plus_minus_ms, at_first.ttft_ms);
  Rng rng(7);
  for (int i = 0; i < 300; ++i) {
    model.ObserveTtft(kind, kFirst, Prompt(1'000), 500 * (0.8F + 0.4F * static_cast<float>(rng.Uniform())));
  }
  EXPECT_NEAR(model.ExpectedError(kind).ttft, 0.12, 0.05);
  EXPECT_NEAR(model.TtftErrors(kind).mape, 0.11, 0.03);
  EXPECT_EQ(model.ExpectedError(kind).itl, 1);
}

TEST(Model, CountsThePredictionThatWasMade) {
  Model model({.kinds_max = 2, .endpoints_max = 4});
  const KindId kind = model.Intern("m|H100|vllm");
  model.ObserveTtft(kind, kFirst, Prompt(1'000), 100, 150);
  model.ObserveTtft(kind, kFirst, Prompt(1'000), 100, 90);
  const ErrorReport report = model.TtftErrors(kind);
  EXPECT_EQ(report.window, 2U);
  EXPECT_NEAR(report.mape, 0.3, 1e-6);
  EXPECT_NEAR(report.bias, 0.2, 1e-6);
}

TEST(Model, EqualHistoriesGiveEqualBits) {
  Learner a(L40s(), 8);
  Learner b(L40s(), 8);
  a.fleet.Run(300);
  b.fleet.Run(300);
  EXPECT_EQ(a.model.Save(), b.model.Save());
  EXPECT_EQ(std::bit_cast<uint32_t>(a.model.Predict(a.kind, kFirst, Prompt(777)).ttft_ms),
            std::bit_cast<uint32_t>(b.model.Predict(b.kind, kFirst, Prompt(777)).ttft_ms));
  EXPECT_EQ(a.ttft_errors, b.ttft_errors);
}

TEST(Model, ManyAtOnceAreBitEqualToOneByOne) {
  Learner learner(L40s(), 9);
  learner.fleet.Run(100);
  Model& model = learner.model;
  const KindId other = model.Intern("x|cpu|sluice");
  Rng rng(10);
  for (const size_t n : {size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{333}}) {
    std::vector<KindId> kind;
    std::vector<model::EndpointId> endpoint;
    std::vector<EndpointFeatures> rows;
    std::vector<float> waiting, resident, ahead, elapsed, cached;
    for (size_t i = 0; i < n; ++i) {
      kind.push_back(rng.Below(4) == 0 ? other : learner.kind);
      endpoint.push_back({static_cast<uint32_t>(rng.Below(4)), 1});
      waiting.push_back(static_cast<float>(rng.Below(5)));
      resident.push_back(rng.Below(10) == 0 ? kNan : static_cast<float>(rng.Below(100'000)));
      ahead.push_back(static_cast<float>(rng.Below(10'000)));
      elapsed.push_back(static_cast<float>(rng.Below(500)));
      cached.push_back(static_cast<float>(rng.Below(6'000)));
      rows.push_back({.waiting = waiting.back(),
                      .resident_tokens = resident.back(),
                      .prefill_tokens_ahead = ahead.back(),
                      .prefill_elapsed_ms = elapsed.back(),
                      .cached_tokens = cached.back()});
    }
    const RequestFeatures request = {.prompt_tokens = 5'000, .output_tokens = 100};
    std::vector<float> ttft(n), itl(n);
    model.PredictMany(request,
                      {.kind = kind,
                       .endpoint = endpoint,
                       .waiting = waiting,
                       .resident_tokens = resident,
                       .prefill_tokens_ahead = ahead,
                       .prefill_elapsed_ms = elapsed,
                       .cached_tokens = cached},
                      ttft, itl);
    for (size_t i = 0; i < n; ++i) {
      const Prediction one = model.Predict(kind[i], endpoint[i], {request, rows[i]});
      ASSERT_EQ(std::bit_cast<uint32_t>(ttft[i]), std::bit_cast<uint32_t>(one.ttft_ms)) << i << " of " << n;
      ASSERT_EQ(std::bit_cast<uint32_t>(itl[i]), std::bit_cast<uint32_t>(one.itl_ms)) << i << " of " << n;
    }
  }
}

TEST(Model, KindsAreBounded) {
  Model model({.kinds_max = 2, .endpoints_max = 4});
  const KindId a = model.Intern("a|H100|vllm");
  const KindId b = model.Intern("b|H100|vllm");
  EXPECT_NE(a, b);
  EXPECT_EQ(model.Intern("a|H100|vllm"), a);
  EXPECT_EQ(model.kinds_refused(), 0U);
  EXPECT_EQ(model.Intern("c|H100|vllm"), Model::kOtherKinds);
  EXPECT_EQ(model.Intern(std::string(Model::kKindNameMax + 1, 'x')), Model::kOtherKinds);
  EXPECT_EQ(model.kinds_refused(), 2U);
  EXPECT_EQ(model.kinds(), 3U);
  EXPECT_TRUE(model.ObserveTtft(Model::kOtherKinds, kFirst, Prompt(100), 100));  // they predict and learn, together
}

TEST(Model, AColdKindStartsFromItsNearestRelative) {
  Learner learner(L40s(), 11);
  learner.fleet.Run(400);
  Model& model = learner.model;
  const float known = model.Predict(learner.kind, {50, 1}, Prompt(3'000)).ttft_ms;
  const KindId variant = model.Intern("llama-8b-fp8|L40S|vllm");
  EXPECT_NEAR(model.Predict(variant, {50, 1}, Prompt(3'000)).ttft_ms, known, known * 0.2F);
  const KindId stranger = model.Intern("other|H100|sglang");
  EXPECT_NEAR(model.Predict(stranger, {50, 1}, Prompt(3'000)).ttft_ms, 25 + 3'000 / 15.928F + 4.5F, 1);
  const auto rows = model.Describe();
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[1].inherited_from, "llama-8b|L40S|vllm");
  EXPECT_EQ(rows[2].inherited_from, "");
}

TEST(PrefillLedger, KnowsWhatIsAheadAndForHowLong) {
  ManualClock clock;
  const auto after = [&](int ms) {
    clock.Advance(std::chrono::milliseconds(ms));
    return clock.Now();
  };
  PrefillLedger ledger;
  EXPECT_EQ(ledger.ElapsedMs(clock.Now()), 0);
  ledger.FirstToken(after(5), 100, 1);  // of a request it has not seen: nothing
  ledger.Dispatch(after(5), 1'000);
  ledger.Dispatch(after(100), 500);
  EndpointFeatures features;
  ledger.Fill(after(50), features);
  EXPECT_EQ(features.prefill_tokens_ahead, 1'500);
  EXPECT_EQ(features.prefill_requests_ahead, 2);
  EXPECT_FLOAT_EQ(features.prefill_elapsed_ms, 150);
  // 1,250 ms after it began; 1,000 of these went into the first prompt, so most of 250 went into the next.
  ledger.FirstToken(after(1'100), 1'000, 1);
  EXPECT_EQ(ledger.tokens(), 500);
  EXPECT_NEAR(ledger.ElapsedMs(clock.Now()), 250 * PrefillLedger::kTrust, 0.01);
  ledger.Abandon(500);
  EXPECT_EQ(ledger.requests(), 0);
  EXPECT_EQ(ledger.ElapsedMs(after(1'000)), 0);
}

}  // namespace
}  // namespace sluice::latency

#include "schedule/plugins/produce/predicted_latency_producer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "schedule/latency_tracker.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using testing::Harness;
using HeaderViews = std::vector<std::pair<std::string_view, std::string_view>>;

// What the latest decision's predictions were.
LatencyPrediction g_seen;
class SeePredictions final : public Plugin, public Scorer {
 public:
  using Plugin::Plugin;
  std::vector<Need> Needs() const override { return {{DataKind::kLatencyPrediction, ""}}; }
  void Bind(std::span<const int> slots) override { slot_ = slots[0]; }
  void Score(const DecisionInput& in, const Candidates&, std::span<float> out) const override {
    g_seen = *in.board.Get<LatencyPrediction>(slot_);
    std::fill(out.begin(), out.end(), 0.0f);
  }

 private:
  int slot_ = Board::kNoSlot;
};
constexpr PluginInfo kSeePredictions{.type = "see-predictions", .make = MakePlain<SeePredictions>};

struct Predicting {
  explicit Predicting(std::string_view parameters) {
    Registry registry = BuiltinRegistry();
    registry.Add(kSeePredictions);
    auto config =
        LoadConfig(ConfigOf("plugins:\n- {type: predicted-latency-producer, parameters: {" + std::string(parameters) +
                            "}}\n- {type: see-predictions}\n- {type: queue-scorer}\n"),
                   registry);
    SLUICE_CHECK(config.has_value(), "the test's configuration loads");
    loaded = std::move(*config);
    StateOptions options;
    options.latency = tracker;
    state = std::make_unique<PolicyState>(loaded.policy, options);
  }
  const LatencyPrediction& Decide(const HeaderViews& headers = {}, std::string_view text = "hello") {
    request = testing::TextRequest("r", text);
    request.headers = headers;
    schedule::Decide(request, pool, *state, clock, rng, decision);
    return g_seen;
  }
  Ticket Dispatch() { return OnDispatch(request, pool, *state, decision, clock); }

  LoadedConfig loaded;
  std::shared_ptr<LatencyTracker> tracker =
      std::make_shared<LatencyTracker>(latency::Model::Options{.kinds_max = 8, .endpoints_max = 8});
  std::unique_ptr<PolicyState> state;
  ManualClock clock;
  Rng rng{1};
  model::PoolView pool =
      testing::MakePool({{.name = "a"}, {.name = "b", .waiting = 8, .running = 8, .kv_usage = 0.9f}});
  model::Request request;
  model::Decision decision;
};

TEST(PredictedLatency, IsWhatTheModelSays) {
  Predicting setup("streamingMode: true");
  const LatencyPrediction& seen = setup.Decide();
  std::vector<float> ttft(2), itl(2);
  setup.tracker->model().PredictMany({.prompt_tokens = 2}, setup.tracker->Columns(setup.pool, {}, setup.clock.Now()),
                                     ttft, itl);
  EXPECT_EQ(seen.ttft_ms, ttft);
  EXPECT_EQ(seen.tpot_ms, itl);
  EXPECT_GT(seen.ttft_ms[1], seen.ttft_ms[0]);  // eight wait there
  EXPECT_EQ(setup.decision.receipt.profiles[0].candidates[0].predicted_ttft_ms, ttft[0]);
}

TEST(PredictedLatency, WithoutLimitsLessTimeIsMoreHeadroom) {
  Predicting setup("streamingMode: true");
  const LatencyPrediction& seen = setup.Decide();
  for (size_t row = 0; row < 2; ++row) {
    EXPECT_FLOAT_EQ(seen.ttft_headroom_ms[row], -seen.ttft_ms[row]);
    EXPECT_FLOAT_EQ(seen.tpot_headroom_ms[row], -seen.tpot_ms[row]);
  }
}

TEST(PredictedLatency, HeadroomIsTheLimitLessThePrediction) {
  Predicting setup("streamingMode: true, sloBufferFactor: 0.5");
  const LatencyPrediction& seen =
      setup.Decide({{"x-llm-d-slo-ttft-ms", "5000"}, {"x-slo-ttft-ms", "1"}, {"X-SLO-TPOT-ms", " 100 "}});
  for (size_t row = 0; row < 2; ++row) {
    EXPECT_FLOAT_EQ(seen.ttft_headroom_ms[row], 5000 - seen.ttft_ms[row]);
    EXPECT_FLOAT_EQ(seen.tpot_headroom_ms[row], 50 - seen.tpot_ms[row]);
  }
}

TEST(PredictedLatency, OfTwoLimitsOneThatIsNotAskedForIsNotJudged) {
  Predicting setup("streamingMode: true");
  EXPECT_EQ(setup.Decide({{"x-slo-ttft-ms", "5000"}}).tpot_headroom_ms, (std::vector<float>{0, 0}));
  EXPECT_EQ(setup.Decide({{"x-slo-tpot-ms", "100"}}).ttft_headroom_ms, (std::vector<float>{0, 0}));
  EXPECT_FLOAT_EQ(g_seen.tpot_headroom_ms[0], 100 - g_seen.tpot_ms[0]);
}

TEST(PredictedLatency, LimitsThatAreNoNumbersAskForNothing) {
  Predicting setup("");
  for (const std::string_view text : {"soon", "-5", "0", "nan", "inf", ""}) {
    const LatencyPrediction& seen = setup.Decide({{"x-slo-ttft-ms", text}});
    EXPECT_FLOAT_EQ(seen.ttft_headroom_ms[0], -seen.ttft_ms[0]) << text;
  }
}

TEST(PredictedLatency, TokenTimesCountOnlyWhereTokensAreStreamed) {
  Predicting plain("");
  EXPECT_EQ(plain.Decide({{"x-slo-tpot-ms", "0.001"}}).tpot_headroom_ms, (std::vector<float>{0, 0}));
  EXPECT_FLOAT_EQ(g_seen.ttft_headroom_ms[0], -g_seen.ttft_ms[0]);  // a limit that does not count was not asked for
  Predicting roles("streamingMode: true, endpointRoleLabel: role");
  roles.pool = testing::MakePool({{.name = "a", .labels = {{"role", "prefill"}}}, {.name = "b"}});
  const LatencyPrediction& seen = roles.Decide({{"x-slo-tpot-ms", "0.001"}});
  EXPECT_EQ(seen.tpot_headroom_ms[0], 0);
  EXPECT_LT(seen.tpot_headroom_ms[1], 0);
}

TEST(PredictedLatency, RunningRequestsBindThoseThatCome) {
  Predicting setup("streamingMode: true");
  setup.Decide({{"x-slo-tpot-ms", "40"}});
  ASSERT_EQ(setup.decision.pick().endpoint->name, "a");
  Ticket strict = setup.Dispatch();
  setup.Decide({{"x-slo-tpot-ms", "60"}});
  Ticket middle = setup.Dispatch();
  setup.Decide();
  Ticket free = setup.Dispatch();
  setup.Decide({{"x-slo-tpot-ms", "100"}});
  EXPECT_EQ(g_seen.dispatched, (std::vector<float>{3, 0}));
  EXPECT_FLOAT_EQ(g_seen.tpot_headroom_ms[0], 40 - g_seen.tpot_ms[0]);
  EXPECT_FLOAT_EQ(g_seen.tpot_headroom_ms[1], 100 - g_seen.tpot_ms[1]);
  OnResponseEnd(*setup.state, std::move(strict), {});
  setup.Decide();
  EXPECT_FLOAT_EQ(g_seen.tpot_headroom_ms[0], 60 - g_seen.tpot_ms[0]);  // though this one asks for nothing
  OnResponseEnd(*setup.state, std::move(middle), {.failed = true});
  OnResponseEnd(*setup.state, std::move(free), {});
  setup.Decide({{"x-slo-tpot-ms", "100"}});
  EXPECT_EQ(g_seen.dispatched, (std::vector<float>{0, 0}));
  EXPECT_FLOAT_EQ(g_seen.tpot_headroom_ms[0], 100 - g_seen.tpot_ms[0]);
}

TEST(PredictedLatency, AnEndpointThatLeftTakesItsNumbersWithIt) {
  Predicting setup("streamingMode: true");
  setup.Decide({{"x-slo-tpot-ms", "40"}});
  Ticket ticket = setup.Dispatch();
  setup.pool = testing::MakePool({{.name = "a", .generation = 2}, {.name = "b"}}, 2);
  setup.Decide({{"x-slo-tpot-ms", "100"}});
  EXPECT_EQ(g_seen.dispatched[0], 0);
  EXPECT_FLOAT_EQ(g_seen.tpot_headroom_ms[0], 100 - g_seen.tpot_ms[0]);
  OnResponseEnd(*setup.state, std::move(ticket), {});
}

TEST(PredictedLatency, ACachedPrefixSavesTime) {
  Predicting setup("");
  setup.pool = testing::MakePool({{.name = "a"}, {.name = "b"}});
  const std::string text(40'000, 'x');
  setup.Decide({}, text);
  EXPECT_EQ(g_seen.ttft_ms[0], g_seen.ttft_ms[1]);
  const size_t picked = setup.decision.pick().row;
  OnResponseEnd(*setup.state, setup.Dispatch(), {});
  setup.Decide({}, text);
  EXPECT_LT(g_seen.ttft_ms[picked], g_seen.ttft_ms[1 - picked]);
}

TEST(PredictedLatency, EncodedMediaSaveTime) {
  Predicting setup("useEncoderCacheFeatures: true");
  setup.pool = testing::MakePool({{.name = "a"}, {.name = "b"}});
  const auto decide = [&] {
    setup.request = testing::TextRequest("r", "");
    setup.request.prompts[0].media.push_back({model::Media::Kind::kVideo, "film", 0});
    schedule::Decide(setup.request, setup.pool, *setup.state, setup.clock, setup.rng, setup.decision);
  };
  decide();
  const float alone = g_seen.ttft_ms[0];
  OnResponseEnd(*setup.state, setup.Dispatch(), {});
  const size_t picked = setup.decision.pick().row;
  decide();
  EXPECT_EQ(g_seen.ttft_ms[1 - picked], alone);
  EXPECT_LT(g_seen.ttft_ms[picked], alone);
}

TEST(PredictedLatency, PredictInProduceFalsePredictsNothing) {
  Predicting setup("predictInProduce: false");
  const LatencyPrediction& seen = setup.Decide();
  EXPECT_TRUE(std::isnan(seen.ttft_ms[0]) && std::isnan(seen.tpot_headroom_ms[1]));
}

TEST(PredictedLatency, AStateOfItsOwnPredictsFromPriors) {
  Harness harness(ConfigOf("plugins:\n- {type: latency-scorer}\n"));
  const model::PoolView pool = testing::MakePool({{.name = "idle"}, {.name = "busy", .waiting = 50, .running = 50}});
  harness.Decide(testing::TextRequest("r", "hello"), pool);
  EXPECT_EQ(harness.decision.pick().endpoint->name, "idle");
}

TEST(PredictedLatency, ABufferOfNothingIsRefused) {
  const auto config =
      LoadConfig(ConfigOf("plugins:\n- {type: predicted-latency-producer, parameters: {sloBufferFactor: 0}}\n"),
                 BuiltinRegistry());
  ASSERT_FALSE(config);
  EXPECT_NE(config.error().message.find("sloBufferFactor: must be more than 0"), std::string::npos);
}

}  // namespace
}  // namespace sluice::schedule

#include "schedule/decide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "schedule/receipt_text.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using testing::Harness;
using ::testing::HasSubstr;
using testing::MakePool;
using testing::TestEndpoint;
using testing::TextRequest;

constexpr std::string_view kFour =
    "plugins:\n- {type: label-selector-filter, parameters: {matchLabels: {role: yes}}}\n- type: queue-scorer\n"
    "- type: running-requests-size-scorer\n- type: kv-cache-utilization-scorer\n"
    "- {type: load-aware-scorer, parameters: {threshold: 16}}\n"
    "schedulingProfiles:\n- name: p\n  plugins:\n  - pluginRef: label-selector-filter\n"
    "  - {pluginRef: queue-scorer, weight: 2}\n  - {pluginRef: running-requests-size-scorer, weight: 0.5}\n"
    "  - {pluginRef: kv-cache-utilization-scorer, weight: -1.5}\n  - {pluginRef: load-aware-scorer}\n";

double Naive(const std::vector<TestEndpoint>& all, const std::vector<size_t>& left, size_t i) {
  double min_q = 1e18, max_q = -1, min_r = 1e18, max_r = -1;
  for (const size_t j : left) {
    min_q = std::min<double>(min_q, all[j].waiting);
    max_q = std::max<double>(max_q, all[j].waiting);
    min_r = std::min<double>(min_r, all[j].running);
    max_r = std::max<double>(max_r, all[j].running);
  }
  const TestEndpoint& e = all[i];
  const double queue = max_q == min_q ? 1 : (max_q - e.waiting) / (max_q - min_q);
  const double running = max_r == min_r ? 1 : (max_r - e.running) / (max_r - min_r);
  const double kv = std::clamp(1.0 - e.kv_usage, 0.0, 1.0);
  const double load = e.waiting == 0 ? 0.5 : 0.5 * (1 - std::min(e.waiting, 16.0f) / 16.0);
  return 2 * queue + 0.5 * running - 1.5 * kv + load;
}

TEST(Decide, EqualsABruteForceEvaluation) {
  Rng rng(11);
  Harness harness(ConfigOf(kFour));
  for (int round = 0; round < 2000; ++round) {
    std::vector<TestEndpoint> all;
    std::vector<size_t> left;
    const size_t n = 1 + rng.Below(40);
    const uint64_t spread = 1 + rng.Below(6);  // small ranges make ties and equal columns common
    for (size_t i = 0; i < n; ++i) {
      TestEndpoint e{std::to_string(i), static_cast<float>(rng.Below(spread)), static_cast<float>(rng.Below(spread)),
                     static_cast<float>(rng.Below(5)) / 4};
      if (rng.Below(4) != 0) e.labels = {{"role", "yes"}};
      e.in_rotation = rng.Below(8) != 0;
      if (e.in_rotation && !e.labels.empty()) left.push_back(i);
      all.push_back(std::move(e));
    }
    const auto pool = MakePool(all, static_cast<uint64_t>(round) + 1);
    const auto& decision = harness.Decide(TextRequest("r", "x"), pool);
    ASSERT_EQ(decision.ok(), !left.empty());
    if (left.empty()) continue;
    double best = -1e18;
    for (const size_t i : left) best = std::max(best, Naive(all, left, i));
    ASSERT_NEAR(Naive(all, left, decision.pick().row), best, 1e-5) << "round " << round;
    const auto& profile = decision.receipt.profiles[0];
    size_t scored = 0;
    for (const auto& candidate : profile.candidates) {
      if (candidate.verdict != model::kCandidate) continue;
      ++scored;
      ASSERT_NEAR(candidate.total, Naive(all, left, std::stoul(candidate.endpoint->name)), 1e-5);
    }
    ASSERT_EQ(scored, left.size());
    ASSERT_EQ(profile.candidates.size() + profile.omitted, n);
  }
}

TEST(Decide, IsDeterministic) {
  const auto pool = MakePool({{"a"}, {"b"}, {"c"}});
  std::string first, second;
  for (std::string* out : {&first, &second}) {
    Harness harness(ConfigOf("plugins:\n- type: queue-scorer\n- type: weighted-random-picker\n"));
    for (int i = 0; i < 50; ++i) *out += harness.Decide(TextRequest("r", "x"), pool).pick().endpoint->name;
  }
  EXPECT_EQ(first, second);
}

TEST(Decide, NoCandidateIs503WithTheReasons) {
  Harness harness(DefaultConfigText());
  EXPECT_EQ(harness.Decide(TextRequest("r", "x"), MakePool({})).error->code, Code::kUnavailable);
  TestEndpoint down{"down"};
  down.in_rotation = false;
  const auto pool = MakePool({down, {"a"}, {"b"}}, 2);
  model::Request request = TextRequest("r", "x");
  request.subset = {"10.0.0.2"};
  request.excluded = {pool.id(1)};
  const auto& decision = harness.Decide(request, pool);
  EXPECT_EQ(decision.error->message,
            "no endpoint can take the request: the pool has 3, 1 out of rotation, 1 outside the requested subset, 1 "
            "tried already");
  EXPECT_EQ(Info(decision.error->code).http_status, 503);
}

TEST(Decide, SubsetsAreByAddressAndEmptyMeansNone) {
  Harness harness(DefaultConfigText());
  const auto pool = MakePool({{"a"}, {"b"}});
  model::Request request = TextRequest("r", "x");
  request.subset = {"10.0.0.2"};
  EXPECT_EQ(harness.Decide(request, pool).pick().endpoint->name, "b");
  request.subset->clear();
  EXPECT_EQ(harness.Decide(request, pool).error->code, Code::kUnavailable);
  request.subset.reset();
  EXPECT_TRUE(harness.Decide(request, pool).ok());
}

TEST(Decide, FiltersThatDropAllAre429) {
  Harness harness(ConfigOf(kFour));
  const auto& decision = harness.Decide(TextRequest("r", "x"), MakePool({{"a"}, {"b"}}));
  ASSERT_FALSE(decision.ok());
  EXPECT_EQ(Info(decision.error->code).http_status, 429);
  EXPECT_THAT(decision.error->message, HasSubstr("no endpoints available for the given request"));
  EXPECT_EQ(decision.receipt.profiles[0].candidates[0].verdict, 0);  // by the first filter
  // The same decision object is good for the next request.
  EXPECT_TRUE(harness.Decide(TextRequest("r", "x"), MakePool({{"a", 0, 0, 0, {{"role", "yes"}}}}, 2)).ok());
}

TEST(Decide, RetryAfterAFailedConnectionGoesElsewhere) {
  Harness harness(DefaultConfigText());
  const auto pool = MakePool({{"a"}, {"b"}});
  model::Request request = TextRequest("r", "hello");
  const auto first = harness.Decide(request, pool).pick();
  OnResponseEnd(harness.state, harness.Dispatch(request, pool), {.failed = true});
  request.excluded.push_back(first.id);
  EXPECT_NE(harness.Decide(request, pool).pick().endpoint->name, first.endpoint->name);
  EXPECT_EQ(harness.decision.receipt.profiles[0].candidates.back().verdict, model::kExcludedEarlier);
}

TEST(Decide, ReceiptsAreBoundedAndBeginWithThePick) {
  std::vector<TestEndpoint> all;
  for (int i = 0; i < 300; ++i) all.push_back({std::to_string(i), static_cast<float>((i * 7) % 300)});
  Harness harness(ConfigOf("plugins:\n- type: queue-scorer\n"), {.receipt_candidates_max = 5});
  const auto& profile = harness.Decide(TextRequest("r", "x"), MakePool(all)).receipt.profiles[0];
  ASSERT_EQ(profile.candidates.size(), 5u);
  EXPECT_EQ(profile.omitted, 295u);
  EXPECT_EQ(profile.candidates[0].endpoint->name, harness.decision.pick().endpoint->name);
  EXPECT_EQ(profile.runner_up, 1u);
  for (size_t i = 1; i < 5; ++i) EXPECT_LE(profile.candidates[i].total, profile.candidates[i - 1].total);
}

TEST(Decide, DataAgeIsShown) {
  Harness harness(ConfigOf("plugins:\n- type: queue-scorer\n"));
  harness.clock.Advance(std::chrono::seconds(10));
  auto pool = MakePool({{"a"}});
  EXPECT_TRUE(std::isinf(harness.Decide(TextRequest("r", "x"), pool).receipt.profiles[0].candidates[0].data_age_ms));
  pool.scraped_at[0] = harness.clock.Now() - std::chrono::milliseconds(40);
  EXPECT_FLOAT_EQ(harness.Decide(TextRequest("r", "x"), pool).receipt.profiles[0].candidates[0].data_age_ms, 40);
}

// Tests' own plugins: a producer that fails, a scorer out of range, a handler with two profiles, a picker that picks
// nothing.
class Broken final : public Plugin, public Producer {
 public:
  using Plugin::Plugin;
  DataKind Provides() const override { return DataKind::kPrefixMatch; }
  std::unique_ptr<Data> MakeData() const override { return std::make_unique<PrefixMatch>(); }
  Status Produce(const DecisionInput&, const Candidates&, Data&) const override {
    return Fail(Code::kTimeout, "too slow");
  }
};
class Wild final : public Plugin, public Scorer {
 public:
  using Plugin::Plugin;
  void Score(const DecisionInput&, const Candidates& candidates, std::span<float> out) const override {
    for (size_t i = 0; i < out.size(); ++i) out[i] = candidates.row(i) == 0 ? 7 : candidates.row(i) == 1 ? -7 : NAN;
  }
};
class Nobody final : public Plugin, public Picker {
 public:
  using Plugin::Plugin;
  void Pick(const DecisionInput&, const Candidates&, std::span<const float>, std::vector<uint32_t>&,
            std::vector<double>&) const override {}
};
class Two final : public Plugin, public ProfileHandler {
 public:
  using Plugin::Plugin;
  Status BindProfiles(std::span<const std::string>) override { return {}; }
  void Next(const DecisionInput&, const ProfileResults& results, std::vector<ProfileRun>& next) const override {
    if (results.OutcomeOf(1) == ProfileOutcome::kNotRun) {
      next.push_back({1});
    } else if (results.OutcomeOf(0) == ProfileOutcome::kNotRun) {
      next.push_back({0, /*peer=*/1});
    }
  }
  Result<uint32_t> Primary(const DecisionInput&, const ProfileResults&) const override { return uint32_t{0}; }
};
// Keeps who is not the peer.
class NotThePeer final : public Plugin, public Filter {
 public:
  using Plugin::Plugin;
  void Keep(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override {
    for (size_t i = 0; i < keep.size(); ++i) keep[i] = in.peer == nullptr || in.peer->row != candidates.row(i);
  }
};
// Screens out the endpoint that the header names; refuses whom the other header says; reads a tenant.
class Doorman final : public Plugin, public Screener, public Admitter, public HeaderReader, public SaturationDetector {
 public:
  using Plugin::Plugin;
  void Screen(const DecisionInput& in, const Candidates& candidates, std::span<uint8_t> keep) const override {
    for (size_t i = 0; i < keep.size(); ++i) {
      const std::string_view out = in.request.Header("x-out");
      keep[i] = out != "*" && in.pool.endpoint(candidates.row(i)).name != out;
    }
  }
  Status Admit(const DecisionInput& in, const Candidates&) const override {
    if (in.request.Header("x-refuse").empty()) return {};
    return Fail(Code::kInvalidArgument, "not today");
  }
  void ReadHeaders(model::Request& request) const override {
    if (request.fairness_id.empty()) request.fairness_id = request.Header("x-tenant");
  }
  double Saturation(const DecisionInput& in, const Candidates& candidates) const override {
    return candidates.waiting()[0] + 0 * in.request.priority;
  }
};
constexpr PluginInfo kBroken{.type = "broken-producer", .make = MakePlain<Broken>};
constexpr PluginInfo kWild{.type = "wild-scorer", .make = MakePlain<Wild>};
constexpr PluginInfo kNobody{.type = "nobody-picker", .make = MakePlain<Nobody>};
constexpr PluginInfo kTwo{.type = "two-handler", .make = MakePlain<Two>};
constexpr PluginInfo kNotThePeer{.type = "not-the-peer", .make = MakePlain<NotThePeer>};
constexpr PluginInfo kDoorman{.type = "doorman", .make = MakePlain<Doorman>};

model::Decision DecideWith(std::string_view body, const model::PoolView& pool,
                           model::Request request = TextRequest("r", "hello")) {
  Registry registry = BuiltinRegistry();
  for (const PluginInfo* info : {&kBroken, &kWild, &kNobody, &kTwo, &kNotThePeer, &kDoorman}) registry.Add(*info);
  const auto config = LoadConfig(ConfigOf(body), registry);
  EXPECT_TRUE(config) << config.error().message;
  PolicyState state(config->policy);
  ManualClock clock;
  Rng rng(1);
  ReadHeaders(state.policy(), request);
  return Decide(request, pool, state, clock, rng);
}

model::Request With(std::vector<std::pair<std::string_view, std::string_view>> headers, int32_t priority = 0) {
  model::Request request = TextRequest("r", "hello");
  request.headers = std::move(headers);
  request.priority = priority;
  return request;
}

TEST(Decide, AFailedProducerLeavesItsConsumersAtZeroAndTheRequestGoesOn) {
  const auto decision = DecideWith(
      "plugins:\n- type: broken-producer\n- {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: "
      "broken-producer}}\n",
      MakePool({{"a"}}));
  ASSERT_TRUE(decision.ok());
  EXPECT_EQ(decision.receipt.profiles[0].ScoresOf(0)[0], 0);
  ASSERT_EQ(decision.receipt.notes.size(), 1u);
  EXPECT_THAT(decision.receipt.notes[0], HasSubstr("producer 'broken-producer' failed"));
}

TEST(Decide, ScoresAreClampedAndNoScoreAddsNothing) {
  const auto decision = DecideWith("plugins:\n- type: wild-scorer\n", MakePool({{"a"}, {"b"}, {"c"}}));
  const auto& profile = decision.receipt.profiles[0];
  EXPECT_EQ(profile.candidates[0].endpoint->name, "a");
  EXPECT_EQ(profile.candidates[0].total, 1);
  EXPECT_EQ(profile.candidates[1].total, 0);
  EXPECT_EQ(profile.candidates[2].total, 0);
  EXPECT_EQ(profile.ScoresOf(1)[0], 0);
  EXPECT_TRUE(std::isnan(profile.ScoresOf(2)[0]));
}

TEST(Decide, APickerThatReturnsNothingIsAnAnswerNotACrash) {
  const auto decision = DecideWith("plugins:\n- type: nobody-picker\n", MakePool({{"a"}}));
  ASSERT_FALSE(decision.ok());
  EXPECT_EQ(decision.error->code, Code::kResourceExhausted);
}

TEST(Decide, SeveralProfilesRunInTheHandlersOrder) {
  const auto decision = DecideWith(
      "plugins:\n- type: two-handler\n- type: queue-scorer\n- {type: label-selector-filter, parameters: {matchLabels: "
      "{p: x}}}\n"
      "schedulingProfiles:\n- {name: decode, plugins: [{pluginRef: queue-scorer}]}\n"
      "- {name: prefill, plugins: [{pluginRef: label-selector-filter}]}\n",
      MakePool({{"a", 1}, {"b", 0}, {"c", 9, 0, 0, {{"p", "x"}}}}));
  ASSERT_TRUE(decision.ok());
  ASSERT_EQ(decision.profiles.size(), 2u);
  EXPECT_EQ(decision.profiles[0].profile, "prefill");
  EXPECT_EQ(decision.profiles[0].targets[0].endpoint->name, "c");
  EXPECT_EQ(decision.pick().endpoint->name, "b");
  EXPECT_EQ(decision.receipt.profiles[decision.receipt.primary].columns->profile, "decode");
}

TEST(Decide, AProfileSeesThePickThatItsHandlerNames) {
  const auto decision = DecideWith(
      "plugins:\n- type: two-handler\n- type: queue-scorer\n- type: not-the-peer\n"
      "schedulingProfiles:\n- {name: decode, plugins: [{pluginRef: not-the-peer}, {pluginRef: queue-scorer}]}\n"
      "- {name: prefill, plugins: [{pluginRef: not-the-peer}, {pluginRef: queue-scorer}]}\n",
      MakePool({{"a", 1}, {"b", 0}}));
  ASSERT_TRUE(decision.ok());
  EXPECT_EQ(decision.profiles[0].targets[0].endpoint->name, "b");  // prefill has no peer
  EXPECT_EQ(decision.pick().endpoint->name, "a");
}

constexpr std::string_view kWithDoorman = "plugins:\n- type: doorman\n- type: queue-scorer\n";

TEST(Decide, ScreenersDropForEveryProfileAndTheReceiptSaysWho) {
  const auto pool = MakePool({{"a", 0}, {"b", 9}});
  const auto decision = DecideWith(kWithDoorman, pool, With({{"x-out", "a"}}));
  ASSERT_TRUE(decision.ok());
  EXPECT_EQ(decision.pick().endpoint->name, "b");
  EXPECT_THAT(ReceiptJson(decision.receipt), HasSubstr("screened out by doorman"));

  const auto none = DecideWith(kWithDoorman, pool, With({{"x-out", "*"}}));
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.error->code, Code::kUnavailable);
  EXPECT_THAT(none.error->message, HasSubstr("screeners eliminated all endpoint candidates"));
  EXPECT_EQ(none.receipt.dropped_reason, "rejected-no-endpoints");
}

TEST(Decide, AnAdmittersReasonReachesTheCaller) {
  const auto decision = DecideWith(kWithDoorman, MakePool({{"a"}}), With({{"x-refuse", "1"}}));
  ASSERT_FALSE(decision.ok());
  EXPECT_EQ(decision.error->code, Code::kResourceExhausted);
  EXPECT_EQ(decision.error->message, "request cannot be admitted: not today");
  EXPECT_TRUE(decision.receipt.profiles.empty());
}

TEST(Decide, OnlySheddableRequestsAreRefusedForSaturation) {
  const std::string body = std::string(kWithDoorman) + "flowControl: {saturationDetector: {pluginRef: doorman}}\n";
  EXPECT_TRUE(DecideWith(body, MakePool({{"a", 1}}), With({}, 0)).ok());
  EXPECT_TRUE(DecideWith(body, MakePool({{"a", 0.9F}}), With({}, -1)).ok());
  const auto shed = DecideWith(body, MakePool({{"a", 1}}), With({}, -1));
  ASSERT_FALSE(shed.ok());
  EXPECT_EQ(shed.error->code, Code::kResourceExhausted);
  EXPECT_EQ(shed.error->message, "system saturated, sheddable request dropped");
  EXPECT_EQ(shed.receipt.saturation, 1);
}

TEST(Decide, HeadersAreReadBeforeAndTheTenantHasADefault) {
  EXPECT_EQ(DecideWith(kWithDoorman, MakePool({{"a"}}), With({{"x-tenant", "t"}})).receipt.fairness_id, "t");
  EXPECT_EQ(DecideWith(kWithDoorman, MakePool({{"a"}}), With({})).receipt.fairness_id, "default-flow");
}

TEST(Decide, IfAvailableWantsACachedPrefix) {
  Harness harness(ConfigOf("plugins:\n- type: prefix-cache-scorer\n"));
  const auto pool = MakePool({{"a"}});
  const std::string text(4000, 'x');
  model::Request request = TextRequest("r", text);
  request.headers = {{"prefer", "respond-async, If-Available; wait=1"}};
  EXPECT_EQ(harness.Decide(request, pool).error->code, Code::kPreconditionFailed);
  request.headers = {{"prefer", "if-available-soon"}};
  ASSERT_TRUE(harness.Decide(request, pool).ok());
  OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  request.headers = {{"prefer", "if-available"}};
  EXPECT_TRUE(harness.Decide(request, pool).ok());
}

TEST(Decide, TenThousandEndpointsAreOnePoolLikeAnyOther) {
  std::vector<TestEndpoint> many(10'000);
  for (size_t i = 0; i < many.size(); ++i) {
    many[i].name = "e" + std::to_string(i);
    many[i].address = "10.1." + std::to_string(i / 250) + "." + std::to_string(i % 250);
    many[i].waiting = i == 7'777 ? 0 : 3;
  }
  Harness harness(DefaultConfigText());
  const std::string text(5000, 'x');
  const auto pool = MakePool(many);
  ASSERT_TRUE(harness.Decide(TextRequest("r", text), pool).ok());
  EXPECT_EQ(harness.decision.pick().endpoint->name, "e7777");
  EXPECT_EQ(harness.decision.receipt.profiles[0].candidates.size(), 64u);
  EXPECT_EQ(harness.decision.receipt.profiles[0].omitted, 9'936u);
}

TEST(PolicyState, ANewPolicyKeepsTheMemoryOfPluginsThatDidNotChange) {
  const std::string text(4000, 'x');
  const auto pool = MakePool({{"a"}, {"b"}});
  Harness before(
      ConfigOf("plugins:\n- {type: approx-prefix-cache-producer, parameters: {blockSizeTokens: 64}}\n"
               "- type: prefix-cache-scorer\n"));
  const model::Request request = TextRequest("r", text);
  ASSERT_TRUE(before.Decide(request, pool).ok());
  Ticket open = before.Dispatch(request, pool);
  const auto matched = [&](std::string_view body) {
    const LoadedConfig config = testing::MustLoad(ConfigOf(body));
    PolicyState state(config.policy, {}, &before.state);
    ManualClock clock;
    Rng rng(1);
    return Decide(request, pool, state, clock, rng).receipt.profiles[0].candidates[0].matched_blocks;
  };
  EXPECT_GT(matched("plugins:\n- type: queue-scorer\n- type: prefix-cache-scorer\n"
                    "- {type: approx-prefix-cache-producer, parameters: {blockSizeTokens: 64}}\n"),
            0u);
  EXPECT_EQ(matched("plugins:\n- type: prefix-cache-scorer\n"
                    "- {type: approx-prefix-cache-producer, parameters: {blockSizeTokens: 128}}\n"),
            0u);
  OnResponseEnd(before.state, std::move(open), {});
  EXPECT_EQ(before.state.open_tickets(), 0u);
}

// The receipt's order is that of a full sort, however few are shown and however many totals are equal.
TEST(Decide, AShortReceiptIsTheBeginningOfTheWholeOne) {
  Rng rng(17);
  for (int round = 0; round < 150; ++round) {
    const std::string config = ConfigOf("plugins:\n- type: queue-scorer\n- {type: max-score-picker, parameters: " +
                                        std::string(round % 3 == 0 ? "{maxNumOfEndpoints: 5}}\n" : "{}}\n"));
    const size_t n = 1 + rng.Below(1500), limit = rng.Below(80);
    Harness shown(config, {.receipt_candidates_max = limit}), whole(config, {.receipt_candidates_max = 5000});
    const uint64_t spread = 1 + rng.Below(round % 2 == 0 ? 5 : 100'000);
    std::vector<TestEndpoint> all;
    for (size_t i = 0; i < n; ++i) {
      all.push_back({.name = std::to_string(i),
                     .waiting = static_cast<float>(rng.Below(spread)),
                     .in_rotation = rng.Below(9) != 0});
    }
    const auto pool = MakePool(all);
    const auto& one = shown.Decide(TextRequest("r", "x"), pool);
    const auto& other = whole.Decide(TextRequest("r", "x"), pool);
    ASSERT_EQ(one.ok(), other.ok());
    if (!one.ok()) continue;
    const auto& few = one.receipt.profiles[0];
    const auto& many = other.receipt.profiles[0];
    ASSERT_EQ(few.candidates.size(), std::min(limit, n));
    for (size_t i = 0; i < few.candidates.size(); ++i)
      ASSERT_EQ(few.candidates[i].endpoint, many.candidates[i].endpoint);
    for (size_t i = many.picked + 1; i < many.candidates.size(); ++i) {
      const auto &a = many.candidates[i - 1], &b = many.candidates[i];
      if (b.verdict != model::kCandidate) break;
      ASSERT_TRUE(a.total > b.total ||
                  (a.total == b.total && std::stoul(a.endpoint->name) < std::stoul(b.endpoint->name)));
    }
  }
}

}  // namespace
}  // namespace sluice::schedule

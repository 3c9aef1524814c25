// What the pickers that peers have do with totals, keys and load: distributions, edges, and what they remember.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "schedule/plugins/pick/weighted_round_robin_picker.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using testing::Harness;
using testing::MakePool;
using testing::TestEndpoint;
using testing::TextRequest;

// One scorer whose totals are 1 - kv_usage, and the picker.
std::string With(const std::string& picker) {
  return ConfigOf("plugins:\n- type: kv-cache-utilization-scorer\n- {type: " + picker + "}\n");
}

std::vector<TestEndpoint> Totals(const std::vector<float>& totals) {
  std::vector<TestEndpoint> list;
  for (size_t i = 0; i < totals.size(); ++i) {
    list.push_back({.name = std::string(1, static_cast<char>('a' + i)), .kv_usage = 1 - totals[i]});
  }
  return list;
}

std::map<std::string, double> Shares(Harness& harness, const model::PoolView& pool, int rounds) {
  std::map<std::string, double> shares;
  for (int i = 0; i < rounds; ++i) {
    shares[harness.Decide(TextRequest("r", "x"), pool).pick().endpoint->name] += 1.0 / rounds;
  }
  return shares;
}

std::vector<std::string> Targets(const model::Decision& decision) {
  std::vector<std::string> names;
  for (const auto& target : decision.profiles[decision.primary].targets) names.push_back(target.endpoint->name);
  return names;
}

TEST(PowerOfTwo, TheBetterOfEveryPairHasTheSameChance) {
  Harness harness(With("power-of-two-picker"));
  auto shares = Shares(harness, MakePool(Totals({0.9f, 0.5f, 0.1f})), 30'000);
  EXPECT_NEAR(shares["a"], 2.0 / 3, 0.02);  // wins both of its pairs
  EXPECT_NEAR(shares["b"], 1.0 / 3, 0.02);  // wins against c
  EXPECT_EQ(shares["c"], 0);                // loses every pair
}

TEST(PowerOfTwo, EqualTotalsAreUniformAndOneCandidateIsTaken) {
  Harness harness(With("power-of-two-picker"));
  for (const auto& [name, share] : Shares(harness, MakePool(Totals({0.5f, 0.5f, 0.5f, 0.5f})), 20'000)) {
    EXPECT_NEAR(share, 0.25, 0.02) << name;
  }
  EXPECT_EQ(Shares(harness, MakePool(Totals({0})), 3)["a"], 1);
}

TEST(PowerOfTwo, FallbacksAreDistinctAndDrawnTheSameWay) {
  Harness harness(With("power-of-two-picker, parameters: {maxNumOfEndpoints: 9}"));
  const auto pool = MakePool(Totals({0.9f, 0.5f, 0.1f}));
  int worst_last = 0;
  for (int i = 0; i < 300; ++i) {
    const auto names = Targets(harness.Decide(TextRequest("r", "x"), pool));
    ASSERT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 3u);
    worst_last += names[2] == "c";
  }
  EXPECT_EQ(worst_last, 300);  // of three, the worst loses its draw whichever pair it is in
}

TEST(Softmax, ChancesAreExponentialInTheTotal) {
  Harness harness(With("softmax-picker, parameters: {temperature: 0.5}"));
  auto shares = Shares(harness, MakePool(Totals({1, 0.5f, 0})), 30'000);
  const double sum = std::exp(2) + std::exp(1) + 1;
  EXPECT_NEAR(shares["a"], std::exp(2) / sum, 0.02);
  EXPECT_NEAR(shares["b"], std::exp(1) / sum, 0.02);
  EXPECT_NEAR(shares["c"], 1 / sum, 0.02);
}

TEST(Softmax, ColdIsTheHighestAndEqualsAreUniform) {
  Harness cold(With("softmax-picker, parameters: {temperature: 0, maxNumOfEndpoints: 3}"));
  const auto pool = MakePool(Totals({0.2f, 0.9f, 0.9f, 0.1f}));
  int b_first = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto names = Targets(cold.Decide(TextRequest("r", "x"), pool));
    ASSERT_EQ(names.size(), 3u);
    ASSERT_EQ(names[2], "a");
    b_first += names[0] == "b";
  }
  EXPECT_NEAR(b_first, 1000, 120);
  Harness hot(With("softmax-picker"));
  for (const auto& [name, share] : Shares(hot, MakePool(Totals({0, 0, 0, 0})), 20'000)) EXPECT_NEAR(share, 0.25, 0.02);
}

TEST(Softmax, TotalsOfAnySizeGiveAPick) {
  // Weights far from 1 must not overflow into a pick of nothing.
  Harness harness(
      ConfigOf("plugins:\n- type: kv-cache-utilization-scorer\n- {type: softmax-picker, parameters: {temperature: 1}}\n"
               "schedulingProfiles:\n- name: p\n  plugins:\n  - {pluginRef: kv-cache-utilization-scorer, weight: "
               "1e30}\n  - pluginRef: softmax-picker\n"));
  EXPECT_EQ(Shares(harness, MakePool(Totals({0.2f, 0.9f})), 100).count("a"), 0u);
}

model::Request Keyed(const std::string& key) {
  model::Request request = TextRequest("r", "x");
  request.session_id = key;
  return request;
}

std::vector<TestEndpoint> Named(int from, int to) {
  std::vector<TestEndpoint> list;
  for (int i = from; i < to; ++i) list.push_back({.name = "e" + std::to_string(i), .generation = uint32_t(i + 1)});
  return list;
}

std::map<std::string, std::string> Homes(Harness& harness, const model::PoolView& pool, int keys) {
  std::map<std::string, std::string> homes;
  for (int i = 0; i < keys; ++i) {
    const std::string key = "session-" + std::to_string(i);
    homes[key] = harness.Decide(Keyed(key), pool).pick().endpoint->name;
  }
  return homes;
}

TEST(ConsistentHash, OnlyTheKeysOfWhoLeftMoveAndWhoComesTakesItsShare) {
  Harness harness(With("consistent-hash-picker"));
  constexpr int kKeys = 10'000;
  const auto before = Homes(harness, MakePool(Named(0, 20), 1), kKeys);
  EXPECT_EQ(before, Homes(harness, MakePool(Named(0, 20), 1), kKeys));
  std::map<std::string, int> count;
  for (const auto& [key, home] : before) ++count[home];
  EXPECT_EQ(count.size(), 20u);
  for (const auto& [name, keys] : count) EXPECT_NEAR(keys, kKeys / 20, kKeys / 20 * 0.25) << name;

  const auto without = Homes(harness, MakePool(Named(1, 20), 2), kKeys);  // e0 left: every row shifts
  for (const auto& [key, home] : before) {
    if (home != "e0") {
      ASSERT_EQ(without.at(key), home) << key;
    }
  }
  const auto more = Homes(harness, MakePool(Named(0, 21), 3), kKeys);
  int moved = 0;
  for (const auto& [key, home] : more) {
    if (home == before.at(key)) continue;
    ASSERT_EQ(home, "e20") << "a key that moves goes to the new endpoint";
    ++moved;
  }
  EXPECT_NEAR(moved, kKeys / 21, kKeys / 21 * 0.25);
}

TEST(ConsistentHash, AnEndpointOverItsBoundIsSkippedUntilItHasRoom) {
  Harness harness(With("consistent-hash-picker, parameters: {loadFactor: 1.25, maxNumOfEndpoints: 2}"));
  const auto pool = MakePool(Named(0, 4), 1);
  const model::Request request = Keyed("hot");
  std::map<std::string, std::vector<Ticket>> tickets;
  std::string home, second;
  for (int i = 1; i <= 100; ++i) {
    const auto names = Targets(harness.Decide(request, pool));
    if (i == 1) {
      home = names[0];
      second = names[1];
    }
    tickets[names[0]].push_back(harness.Dispatch(request, pool));
    for (const auto& [name, list] : tickets) ASSERT_LE(list.size(), std::ceil(1.25 * i / 4)) << name;
  }
  EXPECT_EQ(tickets[home].size(), 32u);    // ceil(1.25 * 100 / 4)
  EXPECT_GE(tickets[second].size(), 31u);  // ceil(1.25 * 97 / 4): it is full before home grows for the last time
  EXPECT_EQ(tickets.size(), 4u);
  for (int i = 0; i < 20; ++i) {  // room at home again
    OnResponseEnd(harness.state, std::move(tickets[home].back()), {});
    tickets[home].pop_back();
  }
  EXPECT_EQ(Targets(harness.Decide(request, pool))[0], home);
}

TEST(ConsistentHash, KeysComeFromWhereTheFileSays) {
  const auto pool = MakePool(Named(0, 50), 1);
  const auto distinct = [&](Harness& harness, const std::function<void(model::Request&, int)>& change) {
    std::set<std::string> picks;
    for (int i = 0; i < 40; ++i) {
      model::Request request = TextRequest("r", "");
      std::string text = "the same beginning of every prompt " + std::to_string(i), value = std::to_string(i);
      request.prompts[0].text = {text};
      request.headers.emplace_back("X-Tenant", value);
      change(request, i);
      picks.insert(harness.Decide(request, pool).pick().endpoint->name);
    }
    return picks.size();
  };
  const auto nothing = [](model::Request&, int) {};
  Harness header(With("consistent-hash-picker, parameters: {key: header, headerName: x-tenant}"));
  EXPECT_GT(distinct(header, nothing), 15u);
  EXPECT_EQ(distinct(header, [](model::Request& r, int) { r.headers[0].second = "t"; }), 1u);
  Harness fairness(With("consistent-hash-picker, parameters: {key: fairness-id}"));
  EXPECT_EQ(distinct(fairness, [](model::Request& r, int) { r.fairness_id = "team"; }), 1u);
  EXPECT_GT(distinct(fairness, [](model::Request& r, int i) { r.fairness_id = std::to_string(i); }), 15u);
  Harness prefix(With("consistent-hash-picker, parameters: {key: prompt-prefix, prefixTokens: 8}"));
  EXPECT_EQ(distinct(prefix, nothing), 1u);  // they differ behind 32 bytes
  Harness longer(With("consistent-hash-picker, parameters: {key: prompt-prefix}"));
  EXPECT_GT(distinct(longer, nothing), 15u);
}

TEST(ConsistentHash, WithoutAKeyTheHighestTotalIsTaken) {
  Harness harness(With("consistent-hash-picker"));
  EXPECT_EQ(Shares(harness, MakePool(Totals({0.1f, 0.9f, 0.3f})), 50).count("b"), 1u);
  EXPECT_EQ(Shares(harness, MakePool(Totals({0.1f, 0.9f, 0.3f})), 50).size(), 1u);
  auto ties = Shares(harness, MakePool(Totals({0.5f, 0.5f}), 2), 2000);
  EXPECT_NEAR(ties["a"], 0.5, 0.06);
}

TEST(ConsistentHash, ItsParametersAreChecked) {
  const auto error = [](const std::string& picker) {
    const auto config = LoadConfig(With(picker), BuiltinRegistry());
    return config ? "" : config.error().message;
  };
  EXPECT_THAT(error("consistent-hash-picker, parameters: {key: sesion-id}"), ::testing::HasSubstr("'session-id'"));
  EXPECT_THAT(error("consistent-hash-picker, parameters: {key: header}"),
              ::testing::HasSubstr("headerName: is required with key header"));
  EXPECT_THAT(error("consistent-hash-picker, parameters: {loadFactor: 0.9}"), ::testing::HasSubstr("loadFactor"));
}

class RoundRobin : public ::testing::Test {
 protected:
  std::map<std::string, int> Spread(Harness& harness, const model::PoolView& pool, int rounds) {
    std::map<std::string, int> counts;
    for (int i = 0; i < rounds; ++i) ++counts[harness.Decide(TextRequest("r", "x"), pool).pick().endpoint->name];
    return counts;
  }
  // One request that takes `seconds` and gives `tokens`, wherever it goes.
  void Serve(Harness& harness, const model::PoolView& pool, const std::map<std::string, double>& tokens_per_second) {
    const auto& decision = harness.Decide(TextRequest("r", "x"), pool);
    const double rate = tokens_per_second.at(decision.pick().endpoint->name);
    Ticket ticket = harness.Dispatch(TextRequest("r", "x"), pool);
    harness.clock.Advance(FromSeconds(600 / rate));
    OnResponseEnd(harness.state, std::move(ticket),
                  {.prompt_tokens = 500, .output_tokens = 100, .at = harness.clock.Now()});
  }
};

TEST_F(RoundRobin, LabelsGiveSmoothTurns) {
  Harness harness(With("weighted-round-robin-picker, parameters: {weightLabel: w}"));
  const auto pool = MakePool({{.name = "a", .labels = {{"w", "5"}}},
                              {.name = "b", .labels = {{"w", "1"}}},
                              {.name = "c", .labels = {{"w", "1"}}}});
  std::string order;
  for (int i = 0; i < 14; ++i) order += harness.Decide(TextRequest("r", "x"), pool).pick().endpoint->name;
  EXPECT_EQ(order, "aabacaaaabacaa");  // the sequence that nginx documents for 5, 1, 1
}

TEST_F(RoundRobin, ZeroWeights) {
  Harness harness(With("weighted-round-robin-picker, parameters: {weightLabel: w}"));
  EXPECT_EQ(
      Spread(harness, MakePool({{.name = "a", .labels = {{"w", "0"}}}, {.name = "b", .labels = {{"w", "3"}}}}, 1), 10),
      (std::map<std::string, int>{{"b", 10}}));
  const auto none = MakePool({{.name = "a", .labels = {{"w", "0"}}}, {.name = "b", .labels = {{"w", "0"}}}}, 2);
  EXPECT_EQ(Spread(harness, none, 10), (std::map<std::string, int>{{"a", 5}, {"b", 5}}));
  const auto bad = MakePool({{.name = "a", .labels = {{"w", "fast"}}}, {.name = "b", .labels = {{"w", "-2"}}}}, 3);
  EXPECT_EQ(Spread(harness, bad, 10), (std::map<std::string, int>{{"a", 5}, {"b", 5}}));
  EXPECT_EQ(Spread(harness, MakePool({{.name = "a", .labels = {{"w", "0"}}}}, 4), 2),
            (std::map<std::string, int>{{"a", 2}}));
}

TEST_F(RoundRobin, UnlikeAcceleratorsTakeWhatTheyDeliver) {
  Harness harness(With("weighted-round-robin-picker"));
  const auto pool = MakePool({{.name = "big"}, {.name = "mid"}, {.name = "small"}});
  EXPECT_EQ(Spread(harness, pool, 9), (std::map<std::string, int>{{"big", 3}, {"mid", 3}, {"small", 3}}));
  const std::map<std::string, double> rates = {{"big", 3000}, {"mid", 2000}, {"small", 1000}};
  for (int i = 0; i < 30; ++i) Serve(harness, pool, rates);
  const PluginState& state = *harness.state.StateOf("weighted-round-robin-picker");
  EXPECT_NEAR(WeightedRoundRobinPicker::MeasuredRate(state, pool.id(0)), 3000, 1);
  EXPECT_NEAR(WeightedRoundRobinPicker::MeasuredRate(state, pool.id(2)), 1000, 1);
  const auto counts = Spread(harness, pool, 600);
  EXPECT_NEAR(counts.at("big"), 300, 3);
  EXPECT_NEAR(counts.at("mid"), 200, 3);
  EXPECT_NEAR(counts.at("small"), 100, 3);
  // The small one is replaced by a big one under its name: the measurement follows within a few half-lives.
  for (int i = 0; i < 3000; ++i) Serve(harness, pool, {{"big", 3000}, {"mid", 2000}, {"small", 3000}});
  EXPECT_NEAR(WeightedRoundRobinPicker::MeasuredRate(state, pool.id(2)), 3000, 100);
}

TEST_F(RoundRobin, TimeWithoutRequestsAndFailuresDoNotCount) {
  Harness harness(With("weighted-round-robin-picker"));
  const auto pool = MakePool({{.name = "a"}});
  const PluginState& state = *harness.state.StateOf("weighted-round-robin-picker");
  EXPECT_LT(WeightedRoundRobinPicker::MeasuredRate(state, pool.id(0)), 0);
  Serve(harness, pool, {{"a", 100}});
  harness.clock.Advance(std::chrono::hours(5));
  EXPECT_NEAR(WeightedRoundRobinPicker::MeasuredRate(state, pool.id(0)), 100, 0.1);
  // Two at once share their seconds.
  harness.Decide(TextRequest("1", "x"), pool);
  Ticket one = harness.Dispatch(TextRequest("1", "x"), pool);
  harness.Decide(TextRequest("2", "x"), pool);
  Ticket two = harness.Dispatch(TextRequest("2", "x"), pool);
  harness.clock.Advance(std::chrono::seconds(6));
  OnResponseEnd(harness.state, std::move(one), {.prompt_tokens = 600, .output_tokens = 0, .at = harness.clock.Now()});
  OnResponseEnd(harness.state, std::move(two), {.prompt_tokens = 600, .output_tokens = 0, .at = harness.clock.Now()});
  EXPECT_GT(WeightedRoundRobinPicker::MeasuredRate(state, pool.id(0)), 140);
  const double before = WeightedRoundRobinPicker::MeasuredRate(state, pool.id(0));
  harness.Decide(TextRequest("3", "x"), pool);
  Ticket three = harness.Dispatch(TextRequest("3", "x"), pool);
  OnResponseEnd(harness.state, std::move(three),
                {.failed = true, .prompt_tokens = 9999, .output_tokens = 9999, .at = harness.clock.Now()});
  EXPECT_DOUBLE_EQ(WeightedRoundRobinPicker::MeasuredRate(state, pool.id(0)), before);
}

TEST_F(RoundRobin, WhoLeftIsForgottenAndLateAnswersOfItAreNotCharged) {
  Harness harness(With("weighted-round-robin-picker"));
  const auto full = MakePool(Named(0, 50), 1);
  std::vector<Ticket> open;
  for (int i = 0; i < 50; ++i) {
    harness.Decide(TextRequest("r", "x"), full);
    open.push_back(harness.Dispatch(TextRequest("r", "x"), full));
  }
  std::vector<TestEndpoint> others = Named(100, 103);  // the same slots, other generations
  const auto pool = MakePool(others, 2);
  harness.clock.Advance(std::chrono::seconds(1));
  harness.Decide(TextRequest("r", "x"), pool);
  const PluginState& state = *harness.state.StateOf("weighted-round-robin-picker");
  EXPECT_EQ(WeightedRoundRobinPicker::Entries(state), 3u);
  for (Ticket& ticket : open) {
    OnResponseEnd(harness.state, std::move(ticket), {.output_tokens = 10, .at = harness.clock.Now()});
  }
  for (size_t row = 0; row < 3; ++row) EXPECT_LT(WeightedRoundRobinPicker::MeasuredRate(state, pool.id(row)), 0);
}

TEST(Pickers, EqualSeedsGiveEqualPicks) {
  for (const char* picker :
       {"power-of-two-picker", "softmax-picker", "consistent-hash-picker", "weighted-round-robin-picker"}) {
    Harness one(With(picker)), two(With(picker));
    const auto pool = MakePool(Totals({0.5f, 0.4f, 0.5f, 0.6f, 0.6f}));
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(one.Decide(TextRequest("r", "x"), pool).pick().row, two.Decide(TextRequest("r", "x"), pool).pick().row)
          << picker;
    }
  }
}

}  // namespace
}  // namespace sluice::schedule

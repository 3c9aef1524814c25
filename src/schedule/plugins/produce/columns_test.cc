// Columns that are kept up to date instead of made anew must equal those that are made anew.
#include "schedule/columns.h"

#include <gtest/gtest.h>

#include "schedule/plugins/produce/inflight_load_producer.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using testing::Harness;
using testing::MakePool;
using testing::TestEndpoint;
using testing::TextRequest;

TEST(Columns, LeastAndGreatestOfAnyLength) {
  Rng rng(3);
  for (size_t n = 1; n < 80; ++n) {
    for (int round = 0; round < 20; ++round) {
      std::vector<float> values(n);
      for (float& value : values) value = static_cast<float>(rng.Below(2000)) / 7 - 100;
      const MinMax found = MinMaxOf(values);
      ASSERT_EQ(found.min, *std::min_element(values.begin(), values.end())) << n;
      ASSERT_EQ(found.max, *std::max_element(values.begin(), values.end())) << n;
      ASSERT_EQ(MaxOf(values), found.max);
    }
  }
}

// Requests go and end in any order, endpoints come and go, the policy is replaced in the middle: the scores are always
// those of the counters.
TEST(Columns, InFlightColumnsFollowTheCounters) {
  const std::string config = ConfigOf(
      "plugins:\n- type: active-request-scorer\n- type: random-picker\nschedulingProfiles:\n- name: p\n"
      "  plugins:\n  - pluginRef: active-request-scorer\n  - pluginRef: random-picker\n");
  LoadedConfig loaded = testing::MustLoad(config);
  auto state = std::make_unique<PolicyState>(loaded.policy);
  std::unique_ptr<PolicyState> before;
  ManualClock clock;
  Rng rng(5);
  std::vector<TestEndpoint> members;
  uint32_t named = 0;
  for (; named < 40; ++named) members.push_back({.name = "e" + std::to_string(named), .generation = named + 1});
  uint64_t version = 1;
  model::PoolView pool = MakePool(members, version);
  std::vector<std::pair<PolicyState*, Ticket>> open;
  std::vector<model::EndpointId> at;
  model::Decision decision;
  const auto end = [&](size_t i) {
    std::swap(open[i], open.back());
    OnResponseEnd(*open.back().first, std::move(open.back().second), {});
    open.pop_back();
  };
  for (int step = 0; step < 4000; ++step) {
    if (step % 1000 == 500) {  // one leaves, another comes at its slot
      members[rng.Below(members.size())] = {.name = "e" + std::to_string(named), .generation = named + 1};
      ++named;
      pool = MakePool(members, ++version);
    }
    if (step == 2000) {
      before = std::move(state);
      state = std::make_unique<PolicyState>(testing::MustLoad(config).policy, StateOptions{}, before.get());
    }
    Decide(TextRequest("r", "x"), pool, *state, clock, rng, decision);
    const PluginState& counters = *state->StateOf("inflight-load-producer");
    float most = 0;
    for (size_t row = 0; row < pool.size(); ++row) {
      most = std::max(most, static_cast<float>(InflightLoadProducer::LoadOf(counters, pool.id(row)).requests));
    }
    const auto& profile = decision.receipt.profiles[0];
    for (size_t i = 0; i < profile.candidates.size(); ++i) {
      for (size_t row = 0; row < pool.size(); ++row) {
        if (profile.candidates[i].endpoint != pool.members->endpoints[row].get()) continue;
        const auto requests = static_cast<float>(InflightLoadProducer::LoadOf(counters, pool.id(row)).requests);
        ASSERT_EQ(profile.ScoresOf(i)[0], requests <= 0 ? 1 : (most - requests) / most) << "step " << step;
      }
    }
    const uint64_t dice = rng.Below(step % 700 < 350 ? 10 : 3);  // waves of growth and shrinking
    open.emplace_back(state.get(), OnDispatch(TextRequest("r", "x"), pool, *state, decision, clock));
    if (dice == 0 && step % 7 == 0) {
      while (!open.empty()) end(rng.Below(open.size()));  // more changes between two decisions than are remembered
    } else if (dice < 3) {
      end(rng.Below(open.size()));
    }
  }
  while (!open.empty()) end(0);
}

TEST(Columns, MatchesOfTheLastPromptDoNotStay) {
  Harness harness(
      ConfigOf("plugins:\n- type: prefix-cache-scorer\n- type: random-picker\nschedulingProfiles:\n- name: p\n"
               "  plugins:\n  - pluginRef: prefix-cache-scorer\n  - pluginRef: random-picker\n"));
  Rng rng(9);
  std::map<std::string, std::set<std::string>> holders;  // by prompt
  std::vector<TestEndpoint> members;
  for (int i = 0; i < 30; ++i) members.push_back({.name = "e" + std::to_string(i), .generation = uint32_t(i + 1)});
  for (int step = 0; step < 400; ++step) {
    if (step == 200) members.pop_back();
    const auto pool = MakePool(members, step < 200 ? 1 : 2);
    const std::string text(400, static_cast<char>('a' + rng.Below(6)));
    const model::Request request = TextRequest("r", text);
    const auto& decision = harness.Decide(request, pool);
    for (const auto& candidate : decision.receipt.profiles[0].candidates) {
      ASSERT_EQ(candidate.matched_blocks, holders[text].contains(candidate.endpoint->name) ? 2u : 0u) << step;
    }
    holders[text].insert(decision.pick().endpoint->name);
    OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  }
}

}  // namespace
}  // namespace sluice::schedule

// Each plugin's formula at its edges: all equal, one candidate, empty prompt, missing data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "schedule/plugins/filter/label_selector_filter.h"
#include "schedule/plugins/produce/approx_prefix_cache_producer.h"
#include "schedule/plugins/produce/inflight_load_producer.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using testing::ConfigOf;
using testing::Harness;
using testing::MakePool;
using testing::TextRequest;

std::string One(std::string_view type, std::string_view parameters = "{}", std::string_view more = "") {
  return ConfigOf("plugins:\n- {type: " + std::string(type) + ", parameters: " + std::string(parameters) + "}\n" +
                  std::string(more));
}

TEST(QueueScorer, SpansTheCandidatesAndEqualGivesOne) {
  Harness harness(One("queue-scorer"));
  const auto pool = MakePool({{"a", 0}, {"b", 4}, {"c", 1}});
  EXPECT_EQ(harness.Decide(TextRequest("1", "x"), pool).pick().endpoint->name, "a");
  EXPECT_FLOAT_EQ(harness.Score("a", "queue-scorer"), 1);
  EXPECT_FLOAT_EQ(harness.Score("b", "queue-scorer"), 0);
  EXPECT_FLOAT_EQ(harness.Score("c", "queue-scorer"), 0.75);
  const auto equal = MakePool({{"a", 7}, {"b", 7}});
  harness.Decide(TextRequest("1", "x"), equal);
  EXPECT_FLOAT_EQ(harness.Score("a", "queue-scorer"), 1);
  EXPECT_FLOAT_EQ(harness.Score("b", "queue-scorer"), 1);
  harness.Decide(TextRequest("1", "x"), MakePool({{"a", 9}}));
  EXPECT_FLOAT_EQ(harness.Score("a", "queue-scorer"), 1);
}

TEST(QueueScorer, OnlyCandidatesSetTheRange) {
  Harness harness(One("queue-scorer"));
  testing::TestEndpoint down{"c", 100};
  down.in_rotation = false;
  harness.Decide(TextRequest("1", "x"), MakePool({{"a", 0}, {"b", 10}, {"d", 5}, down}));
  EXPECT_FLOAT_EQ(harness.Score("d", "queue-scorer"), 0.5);
}

TEST(RunningRequestsSizeScorer, ReadsRunning) {
  Harness harness(One("running-requests-size-scorer"));
  harness.Decide(TextRequest("1", "x"), MakePool({{"a", 9, 2}, {"b", 0, 6}, {"c", 0, 3}}));
  EXPECT_FLOAT_EQ(harness.Score("a", "running-requests-size-scorer"), 1);
  EXPECT_FLOAT_EQ(harness.Score("c", "running-requests-size-scorer"), 0.75);
}

TEST(KvCacheUtilizationScorer, IsOneMinusUsage) {
  Harness harness(One("kv-cache-utilization-scorer"));
  harness.Decide(TextRequest("1", "x"), MakePool({{"a", 0, 0, 0.25f}, {"b", 0, 0, 1}, {"c"}}));
  EXPECT_FLOAT_EQ(harness.Score("a", "kv-cache-utilization-scorer"), 0.75);
  EXPECT_FLOAT_EQ(harness.Score("b", "kv-cache-utilization-scorer"), 0);
  EXPECT_FLOAT_EQ(harness.Score("c", "kv-cache-utilization-scorer"), 1);  // not scraped yet: zero usage
}

TEST(LoadAwareScorer, HalfWhenIdleFallingToZeroAtTheThreshold) {
  Harness harness(One("load-aware-scorer", "{threshold: 10}"));
  harness.Decide(TextRequest("1", "x"), MakePool({{"idle", 0}, {"some", 4}, {"at", 10}, {"over", 50}}));
  EXPECT_FLOAT_EQ(harness.Score("idle", "load-aware-scorer"), 0.5);
  EXPECT_FLOAT_EQ(harness.Score("some", "load-aware-scorer"), 0.3);
  EXPECT_FLOAT_EQ(harness.Score("at", "load-aware-scorer"), 0);
  EXPECT_FLOAT_EQ(harness.Score("over", "load-aware-scorer"), 0);
}

TEST(ActiveRequestScorer, CountsWhatIsInFlight) {
  Harness harness(One("active-request-scorer", "{idleThreshold: 1, maxBusyScore: 0.8}"));
  const auto pool = MakePool({{"a"}, {"b"}, {"c"}});
  std::vector<Ticket> tickets;
  const auto send = [&](const char* to) {
    model::Request request = TextRequest("r", "hello");
    for (uint32_t row = 0; row < 3; ++row) {
      if (pool.endpoint(row).name != to) request.excluded.push_back(pool.id(row));
    }
    harness.Decide(request, pool);
    tickets.push_back(harness.Dispatch(request, pool));
  };
  for (int i = 0; i < 4; ++i) send("a");
  for (int i = 0; i < 2; ++i) send("b");
  send("c");
  harness.Decide(TextRequest("1", "x"), pool);
  EXPECT_FLOAT_EQ(harness.Score("a", "active-request-scorer"), 0);
  EXPECT_FLOAT_EQ(harness.Score("b", "active-request-scorer"), 0.4);  // (4 - 2) / 4 * 0.8
  EXPECT_FLOAT_EQ(harness.Score("c", "active-request-scorer"), 1);    // at the idle threshold
  for (Ticket& ticket : tickets) OnResponseEnd(harness.state, std::move(ticket), {});
  EXPECT_EQ(harness.state.open_tickets(), 0u);
  harness.Decide(TextRequest("1", "x"), pool);
  EXPECT_FLOAT_EQ(harness.Score("a", "active-request-scorer"), 1);
}

TEST(PrefixCacheScorer, ShareOfThePromptAndLengthTerm) {
  Harness harness(One("prefix-cache-scorer", "{matchLengthWeight: 0.5, matchLengthScaleTokens: 256}",
                      "- {type: approx-prefix-cache-producer, parameters: {autoTune: false, blockSizeTokens: 64}}\n"));
  const auto pool = MakePool({{"a"}, {"b"}});
  const std::string text(64 * 4 * 2, 'x');
  model::Request first = TextRequest("1", text);
  first.excluded = {pool.id(1)};
  harness.Decide(first, pool);
  EXPECT_FLOAT_EQ(harness.Score("a", "prefix-cache-scorer"), 0);
  OnResponseEnd(harness.state, harness.Dispatch(first, pool), {});
  const std::string longer = text + std::string(64 * 4 * 2, 'y');
  EXPECT_EQ(harness.Decide(TextRequest("2", longer), pool).pick().endpoint->name, "a");
  // 2 of 4 blocks; length term (2 * 64 / 256)^2.
  EXPECT_FLOAT_EQ(harness.Score("a", "prefix-cache-scorer"), 0.5f * 0.25f + 0.5f * 0.5f);
  EXPECT_FLOAT_EQ(harness.Score("b", "prefix-cache-scorer"), 0);
  harness.Decide(TextRequest("3", ""), pool);  // an empty prompt has no blocks
  EXPECT_FLOAT_EQ(harness.Score("a", "prefix-cache-scorer"), 0);
}

TEST(ApproxPrefixCacheProducer, SaltModelAndPartialBlock) {
  Harness harness(One("prefix-cache-scorer"));
  const auto pool = MakePool({{"a"}});
  const std::string text(300, 'x');  // 75 pseudo-tokens: one block and a partial one
  model::Request request = TextRequest("1", text);
  harness.Decide(request, pool);
  EXPECT_EQ(harness.decision.receipt.prompt_tokens, 75u);
  OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  const auto matched = [&](const model::Request& r) {
    harness.Decide(r, pool);
    return harness.decision.receipt.profiles[0].candidates[0].matched_blocks;
  };
  EXPECT_EQ(matched(request), 2u);
  model::Request salted = request;
  salted.cache_salt = "s";
  EXPECT_EQ(matched(salted), 0u);
  model::Request other = request;
  other.target_model = "other";
  EXPECT_EQ(matched(other), 0u);
  EXPECT_EQ(matched(TextRequest("2", text + "y")), 1u);  // the partial block differs
}

TEST(ApproxPrefixCacheProducer, BlockSizeIsTheEnginesAtLeast64) {
  testing::TestEndpoint big{"a"};
  big.block_size = 128;
  const auto pool = MakePool({big, {"b"}});
  Harness tuned(One("prefix-cache-scorer"));
  tuned.Decide(TextRequest("1", "text"), pool);
  EXPECT_EQ(tuned.decision.receipt.block_size, 128u);
  Harness fixed(One("prefix-cache-scorer", "{}",
                    "- {type: approx-prefix-cache-producer, parameters: {autoTune: false, blockSizeTokens: 32}}\n"));
  fixed.Decide(TextRequest("1", "text"), pool);
  EXPECT_EQ(fixed.decision.receipt.block_size, 64u);
}

TEST(ApproxPrefixCacheProducer, CapacityIsTheEnginesAndGoneEndpointsAreForgotten) {
  testing::TestEndpoint small{"a"};
  small.num_blocks = 2;
  const auto pool = MakePool({small});
  Harness harness(One("prefix-cache-scorer"));
  model::Request request = TextRequest("1", std::string(64 * 4 * 5, 'x'));
  std::string text;
  for (int i = 0; i < 5; ++i) text += std::string(256, static_cast<char>('a' + i));
  request.prompts[0].text = {text};
  harness.Decide(request, pool);
  OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  const PluginState* state = harness.state.StateOf("approx-prefix-cache-producer");
  EXPECT_EQ(ApproxPrefixCacheProducer::Entries(*state), 2u);
  harness.Decide(request, MakePool({{"other", 0, 0, 0, {}, true, 16, 0, "", 2}}, 2));
  EXPECT_EQ(ApproxPrefixCacheProducer::Entries(*state), 0u);
}

TEST(ApproxPrefixCacheProducer, SeveralPromptsAddUpAndTheTokenLimitHolds) {
  Harness harness(One("prefix-cache-scorer", "{}",
                      "- {type: approx-prefix-cache-producer, parameters: {maxPrefixTokensToMatch: 128}}\n"));
  const auto pool = MakePool({{"a"}});
  const std::string one(256 * 5, 'x');
  model::Request request = TextRequest("1", one);
  harness.Decide(request, pool);
  OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  harness.Decide(request, pool);
  EXPECT_EQ(harness.decision.receipt.profiles[0].candidates[0].matched_blocks, 2u);  // 128 tokens are compared
  const std::string other(256, 'z');
  request.prompts.push_back({.text = {other}, .tokens = {}, .media = {}});
  harness.Decide(request, pool);
  EXPECT_FLOAT_EQ(harness.Score("a", "prefix-cache-scorer"), 2.0f / 3.0f);
}

TEST(TokenProducer, TokenIdsAreTakenAsTheyAre) {
  Harness harness(One("prefix-cache-scorer"));
  const auto pool = MakePool({{"a"}});
  model::Request request = TextRequest("1", "");
  request.prompts[0].tokens = std::vector<uint32_t>(130, 7);
  harness.Decide(request, pool);
  EXPECT_EQ(harness.decision.receipt.prompt_tokens, 130u);
  EXPECT_FALSE(harness.decision.receipt.prompt_tokens_estimated);
}

TEST(TokenProducer, PiecesAreJoinedWithoutSeparators) {
  Harness harness(One("prefix-cache-scorer"));
  const auto pool = MakePool({{"a"}});
  const std::string text(512, 'x');
  model::Request whole = TextRequest("1", text);
  harness.Decide(whole, pool);
  OnResponseEnd(harness.state, harness.Dispatch(whole, pool), {});
  model::Request pieces = TextRequest("2", "");
  pieces.prompts[0].text = {std::string_view(text).substr(0, 3), "", std::string_view(text).substr(3)};
  harness.Decide(pieces, pool);
  EXPECT_EQ(harness.decision.receipt.profiles[0].candidates[0].matched_blocks, 2u);
}

TEST(InflightLoadProducer, ChargesUncachedTokensAndFreesThemAtTheFirstChunk) {
  Harness harness(One("active-request-scorer", "{}", "- {type: prefix-cache-scorer}\n"));
  const auto pool = MakePool({{"a"}});
  const auto load = [&] {
    return InflightLoadProducer::LoadOf(*harness.state.StateOf("inflight-load-producer"), pool.id(0));
  };
  const std::string text(256 * 3, 'x');  // three blocks of 64 pseudo-tokens
  harness.Decide(TextRequest("1", text), pool);
  Ticket first = harness.Dispatch(TextRequest("1", text), pool);
  EXPECT_EQ(load().requests, 1u);
  EXPECT_EQ(load().tokens, 192u);
  const std::string longer = text + std::string(256, 'y');
  harness.Decide(TextRequest("2", longer), pool);
  Ticket second = harness.Dispatch(TextRequest("2", longer), pool);
  EXPECT_EQ(load().tokens, 192u + 64u);  // three of four blocks were sent before
  OnFirstChunk(harness.state, first);
  EXPECT_EQ(load().tokens, 64u);
  EXPECT_EQ(load().requests, 2u);
  OnResponseEnd(harness.state, std::move(first), {});
  OnResponseEnd(harness.state, std::move(second), {.failed = true});
  EXPECT_EQ(load().requests, 0u);
  EXPECT_EQ(load().tokens, 0u);
}

TEST(InflightLoadProducer, ExpectedOutputIsHeldToTheEnd) {
  Harness harness(
      One("active-request-scorer", "{}",
          "- {type: inflight-load-producer, parameters: {addEstimatedOutputTokens: true, outputRatio: 2}}\n"));
  const auto pool = MakePool({{"a"}});
  const auto tokens = [&] {
    return InflightLoadProducer::LoadOf(*harness.state.StateOf("inflight-load-producer"), pool.id(0)).tokens;
  };
  const std::string text(40, 'x');  // ten pseudo-tokens
  model::Request request = TextRequest("1", text);
  request.output_tokens_max = 15;
  harness.Decide(request, pool);
  Ticket ticket = harness.Dispatch(request, pool);
  EXPECT_EQ(tokens(), 25u);  // 10 + min(20, 15)
  OnFirstChunk(harness.state, ticket);
  EXPECT_EQ(tokens(), 25u);
  OnResponseEnd(harness.state, std::move(ticket), {});
  EXPECT_EQ(tokens(), 0u);
}

TEST(InflightLoadProducer, ALateEndOfAGoneEndpointIsNotChargedToItsSuccessor) {
  Harness harness(One("active-request-scorer"));
  const auto before = MakePool({{"a"}}, 1);
  harness.Decide(TextRequest("1", "hello"), before);
  Ticket late = harness.Dispatch(TextRequest("1", "hello"), before);
  testing::TestEndpoint next{"b"};
  next.generation = 2;
  const auto after = MakePool({next}, 2);
  harness.Decide(TextRequest("2", "hello"), after);
  Ticket current = harness.Dispatch(TextRequest("2", "hello"), after);
  OnResponseEnd(harness.state, std::move(late), {});
  EXPECT_EQ(InflightLoadProducer::LoadOf(*harness.state.StateOf("inflight-load-producer"), after.id(0)).requests, 1u);
  OnResponseEnd(harness.state, std::move(current), {});
}

TEST(NoHitLruScorer, SpreadsColdRequests) {
  Harness harness(One("no-hit-lru-scorer"));
  const auto pool = MakePool({{"a"}, {"b"}, {"c"}});
  std::vector<std::string> order;
  for (int i = 0; i < 4; ++i) {
    const std::string text = "cold prompt " + std::to_string(i);
    harness.Decide(TextRequest(std::to_string(i), text), pool);
    order.push_back(harness.decision.pick().endpoint->name);
    OnResponseEnd(harness.state, harness.Dispatch(TextRequest(std::to_string(i), text), pool), {});
    if (i == 0) {
      // a is used; never used b and c come first: 1, 0.5; then a: 1 - (2 + 0) / 2.
      harness.Decide(TextRequest("probe", "another"), pool);
      EXPECT_FLOAT_EQ(harness.Score("b", "no-hit-lru-scorer"), 1);
      EXPECT_FLOAT_EQ(harness.Score("c", "no-hit-lru-scorer"), 0.5);
      EXPECT_FLOAT_EQ(harness.Score("a", "no-hit-lru-scorer"), 0);
    }
  }
  EXPECT_EQ(order, (std::vector<std::string>{"a", "b", "c", "a"}));
  harness.Decide(TextRequest("warm", "cold prompt 1"), pool);  // b holds it
  for (const char* name : {"a", "b", "c"}) EXPECT_FLOAT_EQ(harness.Score(name, "no-hit-lru-scorer"), 0.5);
  harness.Decide(TextRequest("one", "new"), MakePool({{"x"}}, 2));
  EXPECT_FLOAT_EQ(harness.Score("x", "no-hit-lru-scorer"), 1);
}

TEST(NoHitLruScorer, AWarmDispatchDoesNotMoveTheList) {
  Harness harness(One("no-hit-lru-scorer"));
  const auto pool = MakePool({{"a"}, {"b"}});
  const auto send = [&](const std::string& text, int only) {
    model::Request request = TextRequest("r", text);
    request.excluded = {pool.id(1 - static_cast<size_t>(only))};
    harness.Decide(request, pool);
    OnResponseEnd(harness.state, harness.Dispatch(request, pool), {});
  };
  send("one", 0);
  send("two", 1);
  send("one", 0);  // a hit: a stays the least recent
  harness.Decide(TextRequest("r", "three"), pool);
  EXPECT_EQ(harness.decision.pick().endpoint->name, "a");
}

std::map<std::string, int> Draw(const std::string& config, const model::PoolView& pool, int times) {
  Harness harness(config);
  std::map<std::string, int> seen;
  for (int i = 0; i < times; ++i) ++seen[harness.Decide(TextRequest("r", "x"), pool).pick().endpoint->name];
  return seen;
}

TEST(MaxScorePicker, TakesTheBestAndBreaksTiesUniformly) {
  auto seen = Draw(One("queue-scorer", "{}", "- {type: max-score-picker}\n"),
                   MakePool({{"a", 1}, {"b", 1}, {"c", 5}, {"d", 1}}), 3000);
  EXPECT_EQ(seen.count("c"), 0u);
  for (const char* name : {"a", "b", "d"}) EXPECT_NEAR(seen[name], 1000, 120) << name;
}

TEST(MaxScorePicker, SeveralComeBestFirst) {
  Harness harness(One("queue-scorer", "{}", "- {type: max-score-picker, parameters: {maxNumOfEndpoints: 3}}\n"));
  harness.Decide(TextRequest("r", "x"), MakePool({{"a", 3}, {"b", 1}, {"c", 2}, {"d", 9}}));
  std::vector<std::string> names;
  for (const auto& target : harness.decision.profiles[0].targets) names.push_back(target.endpoint->name);
  EXPECT_EQ(names, (std::vector<std::string>{"b", "c", "a"}));
  harness.Decide(TextRequest("r", "x"), MakePool({{"a", 3}, {"b", 1}}, 2));
  EXPECT_EQ(harness.decision.profiles[0].targets.size(), 2u);  // there are no more
}

TEST(RandomPicker, IsUniformWhateverTheScores) {
  auto seen = Draw(One("queue-scorer", "{}", "- {type: random-picker, parameters: {maxNumOfEndpoints: -3}}\n"),
                   MakePool({{"a", 0}, {"b", 9}, {"c", 5}}), 3000);
  for (const char* name : {"a", "b", "c"}) EXPECT_NEAR(seen[name], 1000, 120) << name;
}

TEST(WeightedRandomPicker, IsProportionalAndUniformWhenAllAreZero) {
  const std::string config = One("kv-cache-utilization-scorer", "{}", "- {type: weighted-random-picker}\n");
  auto seen = Draw(config, MakePool({{"a", 0, 0, 0.25f}, {"b", 0, 0, 0.75f}, {"c", 0, 0, 1}}), 4000);
  EXPECT_NEAR(seen["a"], 3000, 150);
  EXPECT_NEAR(seen["b"], 1000, 150);
  EXPECT_EQ(seen.count("c"), 0u);
  seen = Draw(config, MakePool({{"a", 0, 0, 1}, {"b", 0, 0, 1}}), 2000);
  EXPECT_NEAR(seen["a"], 1000, 120);
}

TEST(LabelSelectorFilter, MatchesAsKubernetesDoes) {
  const auto kept = [](const std::string& parameters) {
    Harness harness(One("label-selector-filter", parameters));
    harness.Decide(
        TextRequest("r", "x"),
        MakePool({{"a", 0, 0, 0, {{"tier", "gold"}, {"zone", "1"}}}, {"b", 0, 0, 0, {{"tier", "silver"}}}, {"c"}}));
    std::string names;
    for (const auto& candidate : harness.decision.receipt.profiles[0].candidates) {
      if (candidate.verdict == model::kCandidate) names += candidate.endpoint->name;
    }
    std::sort(names.begin(), names.end());
    return names;
  };
  EXPECT_EQ(kept("{}"), "abc");
  EXPECT_EQ(kept("{matchLabels: {tier: gold}}"), "a");
  EXPECT_EQ(kept("{matchExpressions: [{key: tier, operator: In, values: [gold, silver]}]}"), "ab");
  EXPECT_EQ(kept("{matchExpressions: [{key: tier, operator: NotIn, values: [gold]}]}"), "bc");
  EXPECT_EQ(kept("{matchExpressions: [{key: zone, operator: Exists}]}"), "a");
  EXPECT_EQ(kept("{matchExpressions: [{key: tier, operator: DoesNotExist}]}"), "c");
  EXPECT_EQ(kept("{matchLabels: {tier: gold}, matchExpressions: [{key: zone, operator: DoesNotExist}]}"), "");
}

TEST(LabelSelectorFilter, FollowsAChangeOfLabels) {
  Harness harness(One("label-selector-filter", "{matchLabels: {x: y}}"));
  EXPECT_FALSE(harness.Decide(TextRequest("r", "x"), MakePool({{"a"}}, 1)).ok());
  EXPECT_TRUE(harness.Decide(TextRequest("r", "x"), MakePool({{"a", 0, 0, 0, {{"x", "y"}}}}, 2)).ok());
}

}  // namespace
}  // namespace sluice::schedule

// The producer over an index that the test fills: what is matched, what it says when it cannot know, and that a
// decision that rests on the index can be repeated from a log.
#include "schedule/plugins/produce/precise_prefix_cache_producer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "schedule/decision_log.h"
#include "schedule/receipt_text.h"
#include "schedule/replay.h"
#include "schedule/scheduler.h"
#include "schedule/testing.h"

namespace sluice::schedule {
namespace {

using kvindex::Trust;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct Counting final : CacheIndex {
  Counting(const CacheSettings& settings, const Clock& c, std::vector<Looked>& lookups, std::vector<Answered>& answers)
      : CacheIndex(settings, c), lookups_(lookups), answers_(answers) {}
  void OnLookup(const Looked& looked) override { lookups_.push_back(looked); }
  void OnAnswered(const Answered& answered) override { answers_.push_back(answered); }

 private:
  std::vector<Looked>& lookups_;
  std::vector<Answered>& answers_;
};

// One index that the test writes to as events would.
struct Caches final : CacheIndexes {
  explicit Caches(const Clock& clock_in) : clock(clock_in) {}
  std::shared_ptr<CacheIndex> Open(const CacheSettings& wanted) override {
    settings = wanted;
    if (index == nullptr) index = std::make_shared<Counting>(settings, clock, looked, answered);
    return index;
  }
  // The endpoint of that row holds `blocks` of this prompt.
  void Hold(uint32_t row, std::string_view model, const std::vector<uint32_t>& tokens, size_t blocks,
            kvindex::Holding holding = kvindex::kGpu, const kvindex::PromptExtras& extras = {}) {
    const auto slot = *index->index.AddEndpoint({row, 1});
    index->index.SetTrust(slot, Trust::kExact);
    std::vector<uint64_t> chain;
    index->keys.AppendChain(model, tokens, extras, blocks, chain);
    for (const uint64_t key : chain) index->index.Add(slot, holding, key);
  }
  void SetTrust(uint32_t row, Trust trust) { index->index.SetTrust(*index->index.AddEndpoint({row, 1}), trust); }

  const Clock& clock;
  CacheSettings settings;
  std::shared_ptr<CacheIndex> index;
  std::vector<CacheIndex::Looked> looked;
  std::vector<CacheIndex::Answered> answered;
};

std::vector<uint32_t> Tokens(uint32_t n, uint32_t first = 100) {
  std::vector<uint32_t> tokens(n);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

model::Request TokenRequest(std::vector<uint32_t> tokens, std::string model = "m") {
  model::Request request;
  request.id = "r";
  request.model = request.target_model = std::move(model);
  request.prompts.push_back({.text = {}, .tokens = std::move(tokens), .media = {}});
  return request;
}

std::string Config(std::string_view parameters = "", std::string_view more_plugins = "") {
  return testing::ConfigOf("plugins:\n" + std::string(more_plugins) + "- type: precise-prefix-cache-producer\n" +
                           std::string(parameters) +
                           "- type: prefix-cache-scorer\n"
                           "  parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}\n"
                           "- type: max-score-picker\n"
                           "schedulingProfiles:\n- name: default\n  plugins:\n"
                           "  - pluginRef: prefix-cache-scorer\n    weight: 2\n  - pluginRef: max-score-picker\n");
}

struct Site {
  explicit Site(std::string_view config)
      : caches(std::make_shared<Caches>(clock)),
        harness(config, {.caches = caches}),
        pool(testing::MakePool({{"a"}, {"b"}, {"c"}})) {}
  const model::Decision& Decide(const model::Request& request) { return harness.Decide(request, pool); }
  const model::ReceiptCandidate& Of(std::string_view name) const {
    for (const auto& candidate : harness.decision.receipt.profiles[0].candidates) {
      if (candidate.endpoint->name == name) return candidate;
    }
    SLUICE_CHECK(false, "no such candidate");
  }

  const model::CacheShare* Cached(std::string_view name) const {
    const auto& profile = harness.decision.receipt.profiles[0];
    return profile.CachedOf(static_cast<size_t>(&Of(name) - profile.candidates.data()));
  }

  ManualClock clock;
  std::shared_ptr<Caches> caches;
  testing::Harness harness;
  model::PoolView pool;
};

TEST(PreciseProducer, TheEndpointThatHoldsMostOfThePromptIsPicked) {
  Site site(Config());
  const auto tokens = Tokens(100);  // 6 whole blocks and 4 tokens
  site.caches->Hold(0, "m", tokens, 2);
  site.caches->Hold(1, "m", tokens, 5);
  site.caches->SetTrust(2, Trust::kExact);
  const auto& decision = site.Decide(TokenRequest(tokens));
  EXPECT_EQ(decision.pick().endpoint->name, "b");
  EXPECT_FLOAT_EQ(site.harness.Score("b", "prefix-cache-scorer"), 5.0f / 6);
  EXPECT_FLOAT_EQ(site.harness.Score("c", "prefix-cache-scorer"), 0);
  EXPECT_THAT(decision.receipt.notes, IsEmpty());
  EXPECT_FALSE(decision.receipt.prompt_tokens_estimated);
  EXPECT_EQ(decision.receipt.block_size, 16u);
  ASSERT_NE(site.Cached("b"), nullptr);
  EXPECT_EQ(site.Cached("b")->cached_tokens, 80u);
  EXPECT_EQ(PodScoresOf(decision.receipt).scores_json, R"({"10.0.0.2":5,"10.0.0.1":2})");
  EXPECT_EQ(site.caches->looked.back().hits, 7u);
  EXPECT_EQ(site.caches->looked.back().deepest, 5u);
}

TEST(PreciseProducer, TheLastTokenIsNeverPredictedAsCached) {
  Site site(Config());
  site.caches->Hold(0, "m", Tokens(96), 6);
  site.Decide(TokenRequest(Tokens(96)));
  EXPECT_EQ(site.Cached("a")->cached_tokens, 80u);  // the engine computes the last token, hence its block
  EXPECT_EQ(site.Of("a").matched_blocks, 6u);
  site.Decide(TokenRequest(Tokens(97)));
  EXPECT_EQ(site.Cached("a")->cached_tokens, 96u);
}

TEST(PreciseProducer, AnEngineOfLargerBlocksReusesWholeOnesOnly) {
  Site site(Config());
  site.pool = testing::MakePool({{.name = "a", .block_size = 64}, {"b"}, {"c"}});
  site.caches->Hold(0, "m", Tokens(160), 8);
  site.Decide(TokenRequest(Tokens(120)));
  EXPECT_EQ(site.Cached("a")->cached_tokens, 64u);
}

TEST(PreciseProducer, TiersWeighAndAreTruncatedAsUpstream) {
  Site site(Config());
  const auto tokens = Tokens(160);
  site.caches->Hold(0, "m", tokens, 3, kvindex::kCpu);
  site.caches->Hold(1, "m", tokens, 5, kvindex::kCpu);
  site.Decide(TokenRequest(tokens));
  EXPECT_EQ(site.Of("a").matched_blocks, 2u);  // 2.4
  EXPECT_EQ(site.Of("b").matched_blocks, 4u);  // 4.0, not 3.9999
  EXPECT_EQ(site.Cached("a")->blocks[model::CacheShare::kCpu], 3u);
  EXPECT_THAT(ReceiptJson(site.harness.decision.receipt), HasSubstr(R"("tiers":{"cpu":80})"));
  EXPECT_THAT(ReceiptTable(site.harness.decision.receipt), HasSubstr("80 cpu"));

  Site weighted(Config("  parameters: {indexerConfig: {kvCacheBackendConfigs: [{name: CPU, weight: 0.1}]}}\n"));
  weighted.caches->Hold(0, "m", tokens, 10, kvindex::kCpu);
  weighted.Decide(TokenRequest(tokens));
  EXPECT_EQ(weighted.Of("a").matched_blocks, 1u);
}

TEST(PreciseProducer, AdapterSaltAndMediaAreNamesOfOtherBlocks) {
  Site site(Config());
  const auto tokens = Tokens(64);
  site.caches->Hold(0, "adapter", tokens, 4);
  site.caches->Hold(1, "m", tokens, 4, kvindex::kGpu, {.cache_salt = "tenant"});
  site.caches->SetTrust(2, Trust::kExact);
  EXPECT_EQ(site.Decide(TokenRequest(tokens, "adapter")).pick().endpoint->name, "a");
  EXPECT_EQ(site.Of("b").matched_blocks, 0u);
  model::Request salted = TokenRequest(tokens);
  salted.cache_salt = "tenant";
  EXPECT_EQ(site.Decide(salted).pick().endpoint->name, "b");
  EXPECT_EQ(site.Of("a").matched_blocks, 0u);
  site.Decide(TokenRequest(tokens));
  EXPECT_EQ(site.Of("b").matched_blocks, 0u);

  model::Request with_image = TokenRequest(tokens);
  with_image.prompts[0].media.push_back({.kind = model::Media::Kind::kImage, .content = "abc", .before_text = 0});
  site.caches->Hold(2, "m", tokens, 4);
  const auto& decision = site.Decide(with_image);
  EXPECT_EQ(site.Of("c").matched_blocks, 0u) << "where the image is is not known, so neither are the keys";
  EXPECT_THAT(decision.receipt.notes, ElementsAre(HasSubstr("media")));
  // Where it is, and the engine's name of it, are in the blocks that it touches.
  with_image.prompts[0].media[0].token_begin = 20;
  with_image.prompts[0].media[0].token_length = 10;
  const kvindex::MultimodalSpan item{.hash = "abc", .offset = 20, .length = 10};
  site.caches->Hold(0, "m", tokens, 4, kvindex::kGpu, {.cache_salt = {}, .items = {&item, 1}});
  EXPECT_EQ(site.Decide(with_image).pick().endpoint->name, "a");
  EXPECT_EQ(site.Of("a").matched_blocks, 4u);
  EXPECT_EQ(site.Of("c").matched_blocks, 1u) << "the block before it is like any other";
  EXPECT_THAT(site.harness.decision.receipt.notes, IsEmpty());
}

TEST(PreciseProducer, SeveralPromptsAreSummed) {
  Site site(Config());
  site.caches->Hold(0, "m", Tokens(64), 4);
  site.caches->Hold(0, "m", Tokens(64, 5000), 2);
  model::Request request = TokenRequest(Tokens(64));
  request.prompts.push_back({.text = {}, .tokens = Tokens(64, 5000), .media = {}});
  site.Decide(request);
  EXPECT_EQ(site.Of("a").matched_blocks, 6u);
  EXPECT_FLOAT_EQ(site.harness.Score("a", "prefix-cache-scorer"), 6.0f / 8);
}

TEST(PreciseProducer, EstimatedTokensAreSaidToBeNotEnough) {
  Site site(Config());
  site.caches->Hold(0, "m", Tokens(64), 4);
  const std::string text(2000, 'x');
  const auto& decision = site.Decide(testing::TextRequest("r", text));
  EXPECT_THAT(decision.receipt.notes,
              ElementsAre(AllOf(HasSubstr("'precise-prefix-cache-producer': the prompt's tokens are an estimate"),
                                HasSubstr("counts as nothing"))));
  EXPECT_EQ(site.Cached("a"), nullptr);
  EXPECT_FLOAT_EQ(site.harness.Score("a", "prefix-cache-scorer"), 0);
}

TEST(PreciseProducer, EstimatedTokensAreGuessedByTheApproximateProducerWhenThereIsOne) {
  Site site(Config("", "- type: approx-prefix-cache-producer\n"));
  const std::string text(2000, 'x');
  const model::Request request = testing::TextRequest("r", text);
  const std::string first = site.Decide(request).pick().endpoint->name;
  OnResponseEnd(site.harness.state, site.harness.Dispatch(request, site.pool), {});
  const auto& again = site.Decide(request);
  EXPECT_EQ(again.pick().endpoint->name, first);
  EXPECT_GT(site.harness.Score(first, "prefix-cache-scorer"), 0.9f);
  ASSERT_NE(site.Cached(first), nullptr);
  EXPECT_EQ(site.Cached(first)->trust, "guessed");
  EXPECT_GT(site.Cached(first)->blocks[model::CacheShare::kGuess], 0u);
  EXPECT_THAT(again.receipt.notes, ElementsAre(HasSubstr("guessed from what was sent where")));
}

TEST(PreciseProducer, AnEndpointWhoseEventsAreIncompleteIsNamedAndKnownByHistory) {
  Site site(Config());
  const auto tokens = Tokens(64);
  site.caches->SetTrust(0, Trust::kGap);
  site.caches->SetTrust(1, Trust::kExact);
  site.caches->SetTrust(2, Trust::kExact);
  model::Request request = TokenRequest(tokens);
  request.excluded = {{1, 1}, {2, 1}};
  const auto& decision = site.Decide(request);
  EXPECT_THAT(decision.receipt.notes,
              ElementsAre(HasSubstr("the caches of 1 of 1 endpoints are not exactly known (gap 1)")));
  OnResponseEnd(site.harness.state, site.harness.Dispatch(request, site.pool), {});
  site.Decide(TokenRequest(tokens));
  EXPECT_EQ(site.Cached("a")->blocks[model::CacheShare::kHistory], 4u);
  EXPECT_EQ(site.Cached("a")->trust, "gap");
  EXPECT_THAT(ReceiptTable(site.harness.decision.receipt), HasSubstr("64 history (gap)"));
  // One whose events are all heard is known by them alone.
  site.caches->SetTrust(0, Trust::kExact);
  request.excluded = {{0, 1}, {2, 1}};
  site.Decide(request);
  OnResponseEnd(site.harness.state, site.harness.Dispatch(request, site.pool), {});
  site.Decide(TokenRequest(tokens));
  EXPECT_EQ(site.Of("b").matched_blocks, 0u);
}

TEST(PreciseProducer, SpeculationHoldsUntilItsTimeIsOver) {
  Site site(Config("  parameters: {speculativeIndexing: true, speculativeTTL: 3s}\n"));
  EXPECT_EQ(site.caches->settings.speculative_ttl, std::chrono::seconds(3));
  for (uint32_t row = 0; row < 3; ++row) site.caches->SetTrust(row, Trust::kExact);
  const model::Request request = TokenRequest(Tokens(64));
  const std::string first = site.Decide(request).pick().endpoint->name;
  OnResponseEnd(site.harness.state, site.harness.Dispatch(request, site.pool), {});
  EXPECT_EQ(site.Decide(request).pick().endpoint->name, first);
  EXPECT_EQ(site.Cached(first)->blocks[model::CacheShare::kSpeculative], 4u);
  site.clock.Advance(std::chrono::seconds(4));
  site.caches->index->index.Maintain();
  site.Decide(request);
  EXPECT_EQ(site.Of(first).matched_blocks, 0u);
}

TEST(PreciseProducer, TellsWhatWasPredictedAndWhatCameOfIt) {
  Site site(Config());
  site.caches->Hold(0, "m", Tokens(100), 5);
  const model::Request request = TokenRequest(Tokens(100));
  site.Decide(request);
  OnResponseEnd(site.harness.state, site.harness.Dispatch(request, site.pool),
                {.prompt_tokens = 100, .cached_tokens = 80, .output_tokens = 1});
  site.Decide(request);
  OnResponseEnd(site.harness.state, site.harness.Dispatch(request, site.pool), {.failed = true});
  ASSERT_EQ(site.caches->answered.size(), 1u) << "a request without an answer says nothing";
  EXPECT_EQ(site.caches->answered[0].predicted_tokens, 80u);
  EXPECT_EQ(site.caches->answered[0].cached_tokens, 80);
  EXPECT_TRUE(site.caches->answered[0].exact);
}

TEST(PreciseProducer, WithoutAnyEventsItSaysSo) {
  testing::Harness harness(Config());
  const auto pool = testing::MakePool({{"a"}, {"b"}});
  const auto& decision = harness.Decide(TokenRequest(Tokens(64)), pool);
  EXPECT_TRUE(decision.ok());
  EXPECT_THAT(decision.receipt.notes, ElementsAre(HasSubstr("nobody listens to KV events here")));
}

TEST(PreciseProducer, OtherConsumersReadItByName) {
  Site site(testing::ConfigOf(
      "plugins:\n- type: precise-prefix-cache-producer\n"
      "- type: no-hit-lru-scorer\n  parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}\n"
      "- type: prefix-cache-affinity-filter\n  parameters: {prefixMatchInfoProducerName: "
      "precise-prefix-cache-producer, "
      "explorationProbability: 0}\n"
      "- type: max-score-picker\nschedulingProfiles:\n- name: default\n  plugins:\n"
      "  - pluginRef: prefix-cache-affinity-filter\n  - pluginRef: no-hit-lru-scorer\n  - pluginRef: "
      "max-score-picker\n"));
  site.caches->Hold(2, "m", Tokens(160), 10);
  EXPECT_EQ(site.Decide(TokenRequest(Tokens(160))).pick().endpoint->name, "c");
  EXPECT_EQ(site.Of("a").verdict, 0) << "the filter keeps who holds the prompt";
  EXPECT_FLOAT_EQ(site.harness.Score("c", "no-hit-lru-scorer"), 0.5f) << "a hit is not for it to spread";
}

TEST(PreciseScorer, OldFormBringsItsOwnProducer) {
  Site site(testing::ConfigOf(
      "plugins:\n- type: precise-prefix-cache-scorer\n  parameters: {tokenProcessorConfig: {blockSize: 32}}\n"
      "- type: max-score-picker\nschedulingProfiles:\n- name: default\n  plugins:\n"
      "  - pluginRef: precise-prefix-cache-scorer\n  - pluginRef: max-score-picker\n"));
  EXPECT_EQ(site.caches->settings.block_size_tokens, 32u);
  site.caches->Hold(1, "m", Tokens(128), 3);
  EXPECT_EQ(site.Decide(TokenRequest(Tokens(128))).pick().endpoint->name, "b");
  EXPECT_FLOAT_EQ(site.harness.Score("b", "precise-prefix-cache-scorer"), 0.75f);
}

TEST(PreciseScorer, OldFormDefersToAProducer) {
  Site site(
      testing::ConfigOf("plugins:\n- type: precise-prefix-cache-scorer\n- type: precise-prefix-cache-producer\n"
                        "- type: max-score-picker\nschedulingProfiles:\n- name: default\n  plugins:\n"
                        "  - pluginRef: precise-prefix-cache-scorer\n  - pluginRef: max-score-picker\n"));
  site.caches->Hold(1, "m", Tokens(64), 2);
  site.Decide(TokenRequest(Tokens(64)));
  EXPECT_FLOAT_EQ(site.harness.Score("b", "precise-prefix-cache-scorer"), 0.5f);
  EXPECT_EQ(site.caches->looked.size(), 1u);
}

std::string ErrorOf(std::string_view parameters) {
  const std::string text = Config(parameters);
  const auto loaded = LoadConfig(text, testing::TestRegistry(text));
  return loaded ? "" : loaded.error().message;
}

TEST(PreciseProducer, ParametersAreChecked) {
  EXPECT_THAT(ErrorOf("  parameters: {tokenProcessorConfig: {blockSizeToken: 8}}\n"), HasSubstr("blockSizeTokens"));
  EXPECT_THAT(ErrorOf("  parameters: {tokenProcessorConfig: {hashAlgorithm: md5}}\n"), HasSubstr("xxh64"));
  EXPECT_THAT(ErrorOf("  parameters: {indexerConfig: {kvBlockIndexConfig: {redisConfig: {address: x}}}}\n"),
              HasSubstr("redisConfig"));
  EXPECT_THAT(ErrorOf("  parameters: {kvEventsConfig: {engineType: trt}}\n"), HasSubstr("vllm"));
  EXPECT_THAT(ErrorOf("  parameters: {kvEventsConfig: {discoverPods: false}}\n"), HasSubstr("zmqEndpoint"));
  EXPECT_THAT(ErrorOf("  parameters: {speculativeTTL: 0s}\n"), HasSubstr("speculativeTTL"));
  EXPECT_EQ(
      ErrorOf("  parameters:\n    indexerConfig: {kvBlockIndexConfig: {enableMetrics: true, costAwareMemoryConfig: "
              "{size: 64Mi}}}\n    kvEventsConfig: {zmqEndpoint: 'tcp://*:5557', topicFilter: 'kv@', "
              "podDiscoveryConfig: {socketPort: 5600, replaySocketPort: 5700}}\n"),
      "");
}

// The index is not in a log; what was found in it is.
TEST(PreciseProducer, DecisionsReplayWithoutTheIndex) {
  ManualClock clock;
  auto caches = std::make_shared<Caches>(clock);
  const std::string text = Config("", "- type: approx-prefix-cache-producer\n");
  Scheduler scheduler(testing::MustLoad(text), clock, {.state = {.caches = caches}, .seed = 5});
  ASSERT_TRUE(scheduler.Put("no-speculation", testing::MustLoad(text)));
  std::string log;
  scheduler.SetLog(std::make_unique<DecisionLog>([&](std::string_view lines) { log += lines; }, 5, 77, 1 << 24));
  const auto pool = testing::MakePool({{"a"}, {"b"}, {"c"}});
  Rng rng(3);
  for (uint32_t row = 0; row < 3; ++row) caches->SetTrust(row, row == 2 ? Trust::kGap : Trust::kExact);
  for (uint32_t i = 0; i < 60; ++i) {
    clock.Advance(std::chrono::milliseconds(5));
    const auto tokens = Tokens(160, 1000 * static_cast<uint32_t>(rng.Below(5)));
    caches->Hold(static_cast<uint32_t>(rng.Below(2)), "m", tokens, rng.Below(11),
                 rng.Below(2) == 0 ? kvindex::kGpu : kvindex::kCpu);
    model::Request request = TokenRequest(tokens);
    request.id = "r" + std::to_string(i);
    if (i == 30) ASSERT_TRUE(scheduler.Promote("no-speculation"));
    ASSERT_TRUE(scheduler.Decide(request, pool).ok());
    scheduler.End(scheduler.Dispatch(request, pool), {.prompt_tokens = 160, .cached_tokens = 16, .output_tokens = 3});
  }
  EXPECT_THAT(log, HasSubstr(R"("matches":[{"lane":"configured","producer":"precise-prefix-cache-producer")"));
  const Registry registry = testing::TestRegistry(text);
  Replay replay(registry, "", true);
  for (size_t at = 0; at < log.size();) {
    const size_t end = log.find('\n', at);
    const Status status = replay.Line(std::string_view(log).substr(at, end - at));
    ASSERT_TRUE(status) << status.error().message;
    at = end + 1;
  }
  const Replay::Outcome outcome = replay.Finish();
  EXPECT_EQ(outcome.decisions, 60u);
  EXPECT_EQ(outcome.equal, 60u) << (outcome.unequal.empty() ? "" : outcome.unequal[0].request_id);
}

}  // namespace
}  // namespace sluice::schedule

// CacheFeed against real publishers on sockets: what the index of a pool knows follows the pool's endpoints.
#include "serving/cache_feed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <numeric>
#include <thread>

#include "kvindex/events/publisher.h"

namespace sluice::serving {
namespace {

using kvindex::Trust;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint32_t kBlock = 4;

std::string PortOf(const std::string& endpoint) { return endpoint.substr(endpoint.rfind(':') + 1); }

// An engine's publisher, and the endpoint that says where it is.
class Engine {
 public:
  explicit Engine(uint16_t serving_port) {
    endpoint_ = {.id = "default/e", .name = "e", .address = "127.0.0.1", .port = serving_port};
    kvindex::PublisherOptions options;
    options.enable_kv_cache_events = true;
    options.endpoint = "tcp://*:*";
    options.replay_endpoint = "tcp://127.0.0.1:*";
    options.topic = "kv@" + endpoint_.host_port() + "@m";
    publisher_ = std::move(*kvindex::Publisher::Open(options));
    endpoint_.labels[std::string(kEventsPortLabel)] = PortOf(publisher_->BoundEndpoint());
    endpoint_.labels[std::string(kReplayPortLabel)] = PortOf(publisher_->BoundReplayEndpoint());
  }
  // One chain of tokens 0, 1, 2, …
  void Store(int blocks) {
    kvindex::BlockStored event{.block_size = kBlock};
    kvindex::BlockDigest digest = hash_.Root();
    for (int n = 0; n < blocks; ++n) {
      std::vector<int32_t> tokens(kBlock);
      std::iota(tokens.begin(), tokens.end(), n * static_cast<int>(kBlock));
      digest = hash_.Next(digest, tokens, {});
      event.block_hashes.push_back(digest);
      event.token_ids.insert(event.token_ids.end(), tokens.begin(), tokens.end());
    }
    publisher_->Publish({.unix_seconds = 1, .events = {std::move(event)}});
  }
  const model::Endpoint& endpoint() const { return endpoint_; }

 private:
  model::Endpoint endpoint_;
  kvindex::EngineHash hash_{kvindex::HashAlgorithm::kSha256Cbor, "0"};
  std::unique_ptr<kvindex::Publisher> publisher_;
};

class CacheFeedTest : public ::testing::Test {
 protected:
  static schedule::CacheSettings Settings() {
    return {.block_size_tokens = kBlock, .bytes_max = 8u << 20, .events = {.concurrency = 2}};
  }
  void LookUntil(const std::function<bool()>& there) {
    const TimePoint last = clock_.Now() + std::chrono::seconds(20);
    while (!there() && clock_.Now() < last) {
      feed_.Look();
      std::this_thread::yield();
    }
    feed_.Look();
    ASSERT_TRUE(there()) << feed_.Table();
  }
  uint32_t Blocks(schedule::CacheIndex& cache, model::EndpointId id) {
    std::vector<uint32_t> tokens(40);
    std::iota(tokens.begin(), tokens.end(), 0u);
    std::vector<uint64_t> chain;
    cache.keys.AppendChain("m", tokens, {}, 100, chain);
    kvindex::PrefixMatches matches(cache.index);
    cache.index.Lookup(chain, {}, matches);
    const auto* match = matches.Find(id);
    return match == nullptr ? 0 : match->blocks;
  }
  bool Shows(const std::string& series) const { return registry_.Render().find(series) != std::string::npos; }
  std::string Json() const {
    std::string text;
    codec::JsonWriter json(text);
    feed_.Write(json);
    return text;
  }

  SystemClock clock_;
  observe::Registry registry_;
  CacheMetrics metrics_{registry_};
  CacheFeed feed_{"p", metrics_, clock_};
};

TEST_F(CacheFeedTest, FollowsTheEndpointsOfThePool) {
  Engine early(8001), late(8002);
  early.Store(5);  // before anybody listens: comes by replay
  feed_.Add({0, 1}, early.endpoint());
  const auto cache = feed_.Open(Settings());
  LookUntil([&] { return Blocks(*cache, {0, 1}) == 5 && cache->index.TrustOf({0, 1}) == Trust::kExact; });

  feed_.Add({1, 1}, late.endpoint());
  late.Store(3);
  LookUntil([&] { return Blocks(*cache, {1, 1}) == 3 && cache->index.TrustOf({1, 1}) == Trust::kExact; });
  EXPECT_THAT(Json(), HasSubstr(R"("tiers":{"gpu":5})"));
  LookUntil([&] { return Shows(R"(sluice_kv_cache_endpoint_blocks{pool="p",endpoint="127.0.0.1:8002"} 3)"); });
  LookUntil([&] { return Shows("llm_d_epp_kv_cache_index_admissions_total 8"); });
  EXPECT_TRUE(Shows("llm_d_epp_kv_cache_events_active_subscribers 2"));

  feed_.Remove({0, 1});
  EXPECT_EQ(Blocks(*cache, {0, 1}), 0u);
  LookUntil([&] { return cache->index.Read().holders == 3; });
  EXPECT_FALSE(Shows(R"(sluice_kv_cache_endpoint_blocks{pool="p",endpoint="127.0.0.1:8001"})"));
  EXPECT_THAT(Json(), Not(HasSubstr("8001")));
}

TEST_F(CacheFeedTest, AnEngineThatIsNotThereIsDegradedAndCounted) {
  auto engine = std::make_unique<Engine>(8001);
  feed_.Add({0, 1}, engine->endpoint());
  const auto cache = feed_.Open(Settings());
  engine->Store(2);
  const std::string degraded = R"(sluice_kv_cache_endpoint_degraded{pool="p",endpoint="127.0.0.1:8001"} )";
  LookUntil([&] { return Shows(degraded + "0"); });
  engine.reset();
  LookUntil([&] { return Shows(degraded + "1"); });
  EXPECT_THAT(Json(), HasSubstr(R"("trust":"not connected","degraded":true)"));
  EXPECT_THAT(feed_.Table(), HasSubstr("not connected"));
}

TEST_F(CacheFeedTest, EqualSettingsShareAnIndexUntilNobodyReadsIt) {
  Engine engine(8001);
  feed_.Add({0, 1}, engine.endpoint());
  auto one = feed_.Open(Settings());
  EXPECT_EQ(feed_.Open(Settings()), one);
  schedule::CacheSettings other = Settings();
  other.block_size_tokens = 8;
  auto two = feed_.Open(other);
  EXPECT_NE(two, one);
  EXPECT_TRUE(Shows("active_subscribers 2"));
  two.reset();
  feed_.Look();
  EXPECT_TRUE(Shows("active_subscribers 1"));
  EXPECT_THAT(Json(), Not(HasSubstr(R"("block_size":8)")));
}

TEST_F(CacheFeedTest, PresumptionsEndWhenEventsSayEverything) {
  Engine engine(8001);
  model::Endpoint nowhere = engine.endpoint();
  nowhere.labels[std::string(kEventsPortLabel)] = "1";  // nobody listens there
  feed_.Add({0, 1}, nowhere);
  const auto cache = feed_.Open(Settings());
  std::vector<uint32_t> tokens(40);
  std::iota(tokens.begin(), tokens.end(), 0u);
  std::vector<uint64_t> chain;
  cache->keys.AppendChain("m", tokens, {}, 100, chain);
  cache->index.InsertHistory({0, 1}, chain);
  EXPECT_EQ(Blocks(*cache, {0, 1}), 10u);
  engine.Store(2);
  feed_.Update({0, 1}, engine.endpoint());  // its label changed
  cache->index.InsertHistory({0, 1}, chain);
  LookUntil([&] { return Blocks(*cache, {0, 1}) == 2; });
}

TEST_F(CacheFeedTest, PredictionsAreComparedWithWhatEnginesSay) {
  Engine engine(8001);
  feed_.Add({0, 1}, engine.endpoint());
  const auto cache = feed_.Open(Settings());
  const auto answer = [&](const char* id, uint32_t predicted, int64_t cached, bool exact) {
    cache->OnAnswered({.endpoint = {0, 1},
                       .request_id = id,
                       .predicted_tokens = predicted,
                       .exact = exact,
                       .prompt_tokens = 100,
                       .cached_tokens = cached});
  };
  answer("a", 48, 48, true);
  answer("a", 48, 48, true);  // a shadow policy's copy
  answer("b", 48, 32, true);
  answer("c", 0, 32, true);
  answer("d", 0, 32, false);
  EXPECT_THAT(Json(),
              HasSubstr(R"("answers":4,"hit_rate":0.36,"predicted":{"exact":1,"over":1,"under":1,"untrusted":1)"));
  EXPECT_TRUE(Shows(R"(sluice_kv_cache_predictions_total{pool="p",result="over"} 1)"));
}

// One limit over the pools of a process, whatever each of them may take by itself.
TEST_F(CacheFeedTest, IndexesOfAllPoolsKeepWithinOneLimit) {
  const size_t limit = 12u << 20;
  const auto memory = std::make_shared<kvindex::MemoryBudget>(limit);
  auto one = std::make_unique<CacheFeed>("one", metrics_, clock_, memory);
  CacheFeed two("two", metrics_, clock_, memory), three("three", metrics_, clock_, memory);
  auto a = one->Open(Settings());
  const auto b = two.Open(Settings());
  ASSERT_NE(a, nullptr);
  ASSERT_NE(b, nullptr);
  const auto fill = [&](schedule::CacheIndex& cache, uint64_t first) {
    const auto slot = *cache.index.AddEndpoint({0, 1});
    for (uint64_t key = first; key < first + 400'000; ++key) {
      cache.index.Add(slot, kvindex::kGpu, key);
      ASSERT_LE(memory->Used(), limit);
    }
  };
  fill(*a, 0);
  fill(*b, 1u << 30);
  EXPECT_LT(b->index.Read().bytes, Settings().bytes_max) << "the first had taken more than half";
  EXPECT_GT(b->index.Read().evicted, 0u);
  EXPECT_EQ(a->index.Read().bytes + b->index.Read().bytes, memory->Used());
  EXPECT_EQ(three.Open(Settings()), nullptr) << "not even what an index begins with is left";
  a.reset();
  one.reset();
  EXPECT_EQ(b->index.Read().bytes, memory->Used()) << "what an index had is for others when it ends";
  EXPECT_NE(three.Open(Settings()), nullptr);
}

TEST_F(CacheFeedTest, AnAddressThatCannotBeBoundIsSaid) {
  schedule::CacheSettings settings = Settings();
  settings.events.bind_endpoint = "tcp://nonsense";
  const auto cache = feed_.Open(settings);
  feed_.Add({0, 1}, {.id = "default/e", .name = "e", .address = "127.0.0.1", .port = 8001});
  EXPECT_THAT(Json(), HasSubstr("zmqEndpoint"));
  EXPECT_THAT(feed_.Table(), HasSubstr("failed"));
  EXPECT_EQ(cache->index.TrustOf({0, 1}), Trust::kNoEvents);
}

TEST(CacheSource, LabelsBeforeTheConfiguredPortAndRank) {
  model::Endpoint endpoint{.id = "ns/pod-rank-3", .name = "pod", .address = "10.0.0.1", .port = 8003};
  schedule::CacheEvents events{.replay_port = 5600};
  EXPECT_EQ(RankOf(endpoint), 3);
  EXPECT_EQ(SourceOf(endpoint, {0, 1}, events).endpoint, "tcp://10.0.0.1:5560");
  EXPECT_EQ(SourceOf(endpoint, {0, 1}, events).replay_endpoint, "tcp://10.0.0.1:5603");
  endpoint.labels[std::string(kEventsPortLabel)] = "7001";
  EXPECT_EQ(SourceOf(endpoint, {0, 1}, events).endpoint, "tcp://10.0.0.1:7001");
  endpoint.labels[std::string(kEventsPortLabel)] = "many";  // as if it were not there
  EXPECT_EQ(SourceOf(endpoint, {0, 1}, events).endpoint, "tcp://10.0.0.1:5560");
  events.discover_pods = false;
  EXPECT_EQ(SourceOf(endpoint, {0, 1}, events).endpoint, "");
}

}  // namespace
}  // namespace sluice::serving

// The subscriber against our publisher, and against servers of other framings, over TCP on loopback.
#include "kvindex/events/subscriber.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <numeric>
#include <thread>

#include "base/rng.h"
#include "kvindex/events/publisher.h"
#include "kvindex/events/zmq_socket.h"

namespace sluice::kvindex {
namespace {

constexpr int kBlock = 4;

// An engine with one chain of blocks: block n has tokens [n x size, (n + 1) x size).
class Engine {
 public:
  explicit Engine(PublisherOptions options, int block_size = kBlock) : size_(block_size) {
    auto publisher = Publisher::Open(options);
    EXPECT_TRUE(publisher.has_value()) << (publisher ? "" : publisher.error().message);
    publisher_ = std::move(*publisher);
    digests_.push_back(hash_.Root());
  }
  void Store(int first, int count) {
    BlockStored event{.block_size = size_};
    if (first > 0) event.parent_block_hash = Digest(first - 1);
    for (int n = first; n < first + count; ++n) event.block_hashes.push_back(Digest(n));
    event.token_ids.resize(static_cast<size_t>(count * size_));
    std::iota(event.token_ids.begin(), event.token_ids.end(), first * size_);
    Publish(event);
  }
  void Remove(int n) { Publish(BlockRemoved{{Digest(n)}}); }
  void Clear() { Publish(AllBlocksCleared{}); }
  Publisher& publisher() { return *publisher_; }
  // As a pod's address would be given.
  EventSource Source(model::EndpointId id, const std::string& host_port) const {
    return {.id = id,
            .host_port = host_port,
            .endpoint = Loopback(publisher_->BoundEndpoint()),
            .replay_endpoint = Loopback(publisher_->BoundReplayEndpoint()),
            .model = {}};
  }
  static std::string Loopback(const std::string& bound) {
    return bound.empty() ? bound : "tcp://127.0.0.1:" + bound.substr(bound.rfind(':') + 1);
  }

 private:
  void Publish(KvEvent event) { publisher_->Publish({.unix_seconds = 1, .events = {std::move(event)}}); }
  const BlockDigest& Digest(int n) {
    while (static_cast<int>(digests_.size()) <= n + 1) {
      std::vector<int32_t> tokens(static_cast<size_t>(size_));
      std::iota(tokens.begin(), tokens.end(), static_cast<int>(digests_.size() - 1) * size_);
      digests_.push_back(hash_.Next(digests_.back(), tokens, {}));
    }
    return digests_[static_cast<size_t>(n) + 1];
  }
  const int size_;
  EngineHash hash_{HashAlgorithm::kSha256Cbor, "0"};
  std::vector<BlockDigest> digests_;
  std::unique_ptr<Publisher> publisher_;
};

// Stands between an engine and its listener, and can be cut: an XSUB and an XPUB with a thread that passes frames on.
class Relay {
 public:
  explicit Relay(std::string engine) : engine_(std::move(engine)) { Mend(); }
  ~Relay() { Cut(); }
  const std::string& endpoint() const { return endpoint_; }
  void Cut() {
    if (!thread_.joinable()) return;
    stop_.store(true);
    thread_.join();
  }
  void Mend() {
    stop_.store(false);
    context_.reset(zmq_ctx_new());
    in_.reset(zmq_socket(context_.get(), ZMQ_XSUB));
    out_.reset(zmq_socket(context_.get(), ZMQ_XPUB));
    for (void* const socket : {in_.get(), out_.get()}) SetInt(socket, ZMQ_LINGER, 0);
    zmq_connect(in_.get(), engine_.c_str());
    const auto bound = Attach(out_.get(), endpoint_.empty() ? "tcp://127.0.0.1:*" : endpoint_, true, "relay");
    ASSERT_TRUE(bound.has_value());
    endpoint_ = *bound;
    thread_ = std::thread([this] { Run(); });
  }

 private:
  static void Pass(void* from, void* to) {
    int more = 1;
    while (more != 0) {
      zmq_msg_t frame;
      zmq_msg_init(&frame);
      if (zmq_msg_recv(&frame, from, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(&frame);
        return;
      }
      more = zmq_msg_more(&frame);
      if (zmq_msg_send(&frame, to, more != 0 ? ZMQ_SNDMORE : 0) < 0) zmq_msg_close(&frame);
    }
  }
  void Run() {
    zmq_pollitem_t items[] = {{in_.get(), 0, ZMQ_POLLIN, 0}, {out_.get(), 0, ZMQ_POLLIN, 0}};
    while (!stop_.load()) {
      zmq_poll(items, 2, 5);
      if ((items[0].revents & ZMQ_POLLIN) != 0) Pass(in_.get(), out_.get());
      if ((items[1].revents & ZMQ_POLLIN) != 0) Pass(out_.get(), in_.get());
    }
    in_.reset();
    out_.reset();
    context_.reset();
  }
  const std::string engine_;
  std::string endpoint_;
  Context context_;
  Socket in_, out_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

PublisherOptions Options(const std::string& topic = "kv@127.0.0.1:8000@m") {
  return {
      .enable_kv_cache_events = true, .endpoint = "tcp://*:*", .replay_endpoint = "tcp://127.0.0.1:*", .topic = topic};
}

class SubscriberTest : public testing::Test {
 protected:
  void Open(SubscriberOptions options = {}) {
    options.keys = {.algorithm = KeyAlgorithm::kXxh64, .hash_seed = {}, .block_size_tokens = kBlock};
    auto subscriber = Subscriber::Open(options, index_, clock_);
    ASSERT_TRUE(subscriber.has_value()) << (subscriber ? "" : subscriber.error().message);
    subscriber_ = std::move(*subscriber);
  }
  void Add(EventSource source) {
    const Status status = subscriber_->Add(std::move(source));
    ASSERT_TRUE(status.has_value()) << (status ? "" : status.error().message);
  }
  uint32_t Held(uint32_t e, int blocks = 4096) {
    std::vector<uint32_t> tokens(static_cast<size_t>(blocks * kBlock));
    std::iota(tokens.begin(), tokens.end(), 0);
    std::vector<uint64_t> chain;
    BlockKeys({.algorithm = KeyAlgorithm::kXxh64, .hash_seed = {}, .block_size_tokens = kBlock})
        .AppendChain("m", tokens, {}, 100'000, chain);
    index_.Lookup(chain, {}, matches_);
    const PrefixMatch* match = matches_.Find({e, 1});
    return match == nullptr ? 0 : match->blocks;
  }
  FeedStatus StatusOf(uint32_t e) const {
    for (const FeedStatus& status : subscriber_->Statuses()) {
      if (status.id == model::EndpointId{e, 1}) return status;
    }
    return {};
  }
  bool Await(const std::function<bool()>& condition) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  bool AwaitExact(uint32_t e, uint32_t blocks) {
    return Await([&] { return index_.TrustOf({e, 1}) == Trust::kExact && Held(e) == blocks; });
  }

  SystemClock clock_;
  PrefixIndex index_{{.bytes_max = 32u << 20, .endpoints_max = 16, .readers_max = 2, .speculative_blocks_max = 16},
                     clock_};
  PrefixMatches matches_{index_};
  std::unique_ptr<Subscriber> subscriber_;
};

TEST_F(SubscriberTest, FollowsAPodFromItsFirstBatchThoughItCameLate) {
  Engine engine(Options());
  engine.Store(0, 10);
  engine.Remove(9);
  Open();
  Add(engine.Source({1, 1}, "127.0.0.1:8000"));
  EXPECT_TRUE(AwaitExact(1, 9));
  engine.Store(9, 3);
  EXPECT_TRUE(AwaitExact(1, 12));
  engine.Clear();
  engine.Store(0, 2);
  EXPECT_TRUE(AwaitExact(1, 2));
  ASSERT_TRUE(Await([&] { return StatusOf(1).last_sequence == 4; }));
  const FeedStatus status = StatusOf(1);
  EXPECT_TRUE(status.connected);
  EXPECT_EQ(status.held, 2u);
  EXPECT_EQ(status.blocks.cleared, 1u);
  EXPECT_EQ(status.feed.malformed, 0u);
  subscriber_->Remove({1, 1});
  EXPECT_EQ(Held(1), 0u) << "at once";
  EXPECT_EQ(index_.TrustOf({1, 1}), Trust::kNoEvents);
  EXPECT_TRUE(Await([&] { return index_.Read().holders == 0; }));
  EXPECT_TRUE(subscriber_->Statuses().empty() || Await([&] { return subscriber_->Statuses().empty(); }));
}

// Traps 5 and 27: engines connect to a bound subscriber; the topic says whose events they are, and storage is nobody's.
// What events did not say is found by the subscriber's own walk.
TEST_F(SubscriberTest, OwnHistoryOfAnEndpointThatLeftIsErasedByTheSubscriber) {
  Engine engine(Options());
  Open();
  Add(engine.Source({1, 1}, "127.0.0.1:8000"));
  Rng rng(2);
  std::vector<uint64_t> keys(50'000);
  for (uint64_t& key : keys) key = rng();
  index_.InsertHistory({1, 1}, keys);
  subscriber_->Remove({1, 1});
  EXPECT_TRUE(Await([&] { return index_.Read().holders == 0 && index_.Read().leaving == 0; }));
  Add(engine.Source({1, 2}, "127.0.0.1:8000"));
  EXPECT_EQ(index_.TrustOf({1, 1}), Trust::kNoEvents);
}

TEST_F(SubscriberTest, Trap5CentralModeGoesByTheTopicsPod) {
  SubscriberOptions options;
  options.bind_endpoint = "tcp://127.0.0.1:*";
  Open(options);
  Add({.id = {1, 1}, .host_port = "10.0.0.5:8000", .endpoint = {}, .replay_endpoint = {}, .model = {}});
  Add({.id = {2, 1}, .host_port = "[fd00::1]:8000", .endpoint = {}, .replay_endpoint = {}, .model = {}});
  const auto open = [&](const std::string& topic) {
    PublisherOptions publisher = Options(topic);
    publisher.endpoint = subscriber_->BoundEndpoint();
    publisher.replay_endpoint.clear();
    return std::make_unique<Engine>(publisher);
  };
  const auto first = open("kv@10.0.0.5:8000@m");
  const auto second = open("kv@[fd00::1]:8000@m");
  const auto storage = open("kv@SHARED_STORAGE@m");
  // A publisher drops until its subscription has arrived.
  int n = 0;
  EXPECT_TRUE(Await([&] {
    first->Clear();
    first->Store(0, 3);
    second->Clear();
    second->Store(0, 5);
    storage->Store(0, 1);
    ++n;
    return Held(1) == 3 && Held(2) == 5 && subscriber_->Stats().unknown_topics > 0;
  }));
  const auto late = subscriber_->Add(
      {.id = {3, 1}, .host_port = "10.0.0.5:8000", .endpoint = {}, .replay_endpoint = {}, .model = {}});
  EXPECT_FALSE(late.has_value()) << "the name is taken";
}

// Traps 12 and 30: what a discovered pod publishes is its own, whatever its topic or its batches say.
TEST_F(SubscriberTest, Trap12ADiscoveredPodsNameWinsOverItsTopic) {
  Engine engine(Options("kv@some-pod-name@m"));
  engine.Store(0, 2);
  Open();
  Add(engine.Source({4, 1}, "10.0.0.9:8000"));
  EXPECT_TRUE(AwaitExact(4, 2));
}

TEST_F(SubscriberTest, Trap30RanksAreEndpointsWithPortsOfTheirOwn) {
  model::Endpoint pod{.id = "ns/pod-rank-1", .name = "pod", .address = "10.0.0.5", .port = 8001};
  const EventSource source = PodSource(pod, {7, 2}, 5557, 5657, 1);
  EXPECT_EQ(source.host_port, "10.0.0.5:8001");
  EXPECT_EQ(source.endpoint, "tcp://10.0.0.5:5558");
  EXPECT_EQ(source.replay_endpoint, "tcp://10.0.0.5:5658");
  pod.address = "fd00::1";
  EXPECT_EQ(PodSource(pod, {7, 2}, 5557, 0, 0).endpoint, "tcp://[fd00::1]:5557");
  EXPECT_EQ(PodSource(pod, {7, 2}, 5557, 0, 0).replay_endpoint, "");
  EXPECT_EQ(ShardOf("10.0.0.5:8000", 4), 1u);
  EXPECT_EQ(ShardOf("10.0.0.6:8000", 4), 2u);
  EXPECT_EQ(ShardOf("10.0.0.7:8000", 4), 3u);
  EXPECT_EQ(ParseTopic("kv@10.0.0.5:8000@org/model").model, "org/model");
  EXPECT_EQ(ParseTopic("kv@pod@a@b").pod, "kv@pod@a@b");
}

TEST_F(SubscriberTest, ARestartedEngineIsFollowedAnewAlsoWithAnotherBlockSize) {
  Open();
  auto engine = std::make_unique<Engine>(Options());
  engine->Store(0, 6);
  const EventSource source = engine->Source({1, 1}, "127.0.0.1:8000");
  Add(source);
  EXPECT_TRUE(AwaitExact(1, 6));
  PublisherOptions again = Options();
  const std::string live = source.endpoint.substr(source.endpoint.rfind(':'));
  again.endpoint = "tcp://*" + live;
  again.replay_endpoint = source.replay_endpoint;
  engine.reset();
  EXPECT_TRUE(Await([&] { return index_.TrustOf({1, 1}) == Trust::kNotConnected; })) << "a dead engine is not exact";
  // Eight tokens a block: two of ours each.
  engine = std::make_unique<Engine>(again, 8);
  engine->Store(0, 2);
  EXPECT_TRUE(AwaitExact(1, 4));
  EXPECT_TRUE(Await([&] { return StatusOf(1).feed.restarts >= 1; }));
}

TEST_F(SubscriberTest, TruncatedHistoryIsFollowedAndDeclared) {
  PublisherOptions options = Options();
  options.buffer_steps = 3;
  Engine engine(options);
  for (int n = 0; n < 10; ++n) engine.Store(n, 1);
  Open();
  Add(engine.Source({1, 1}, "127.0.0.1:8000"));
  EXPECT_TRUE(Await([&] { return index_.TrustOf({1, 1}) == Trust::kHistoryLost; }));
  EXPECT_EQ(Held(1), 0u);
  engine.Clear();
  engine.Store(0, 4);
  EXPECT_TRUE(AwaitExact(1, 4));
}

// A flood into a small queue drops batches on the way; replays bring them back, and it ends exact with every block.
TEST_F(SubscriberTest, AFloodEndsExact) {
  SubscriberOptions options;
  options.receive_hwm = 4;
  Open(options);
  PublisherOptions publisher = Options();
  publisher.hwm = 4;
  Engine engine(publisher);
  Add(engine.Source({1, 1}, "127.0.0.1:8000"));
  EXPECT_TRUE(AwaitExact(1, 0) || index_.TrustOf({1, 1}) == Trust::kExact);
  for (int n = 0; n < 2000; ++n) engine.Store(n * 2, 2);
  // The last batches may be among the lost, which nothing tells until the next one.
  int last = 4000;
  EXPECT_TRUE(Await([&] {
    if (last < 4090) engine.Store(last++, 1);
    return index_.TrustOf({1, 1}) == Trust::kExact && Held(1) == static_cast<uint32_t>(last);
  }));
  EXPECT_EQ(StatusOf(1).blocks.lost_parents, 0u);
}

// More blocks than there is memory for, again and again: the index and the map stay within their limit, what had to go
// is counted, and what is listed is held.
TEST_F(SubscriberTest, AFloodBeyondTheMemoryForgetsAndKeepsTheCap) {
  PrefixIndex small({.bytes_max = PrefixIndex::kBytesMin + 16 * 28,
                     .endpoints_max = 16,
                     .readers_max = 1,
                     .speculative_blocks_max = 16},
                    clock_);
  auto subscriber = Subscriber::Open(
      {.keys = {.algorithm = KeyAlgorithm::kXxh64, .hash_seed = {}, .block_size_tokens = kBlock}}, small, clock_);
  ASSERT_TRUE(subscriber.has_value());
  Engine engine(Options());
  ASSERT_TRUE((*subscriber)->Add(engine.Source({1, 1}, "127.0.0.1:8000")).has_value());
  for (int n = 0; n < 800; ++n) {
    engine.Store(n * 50, 50);
    ASSERT_LE(small.Read().bytes, small.Read().bytes_max);
  }
  EXPECT_TRUE(Await([&] {
    EXPECT_LE(small.Read().bytes, small.Read().bytes_max);
    const auto statuses = (*subscriber)->Statuses();
    return statuses.size() == 1 && statuses[0].blocks.stored >= 40'000;
  }));
  EXPECT_GT((*subscriber)->Statuses()[0].blocks.without_memory + small.Read().evicted, 1000u);
  EXPECT_LT(small.Read().holders, 40'000u);
}

// The stream is cut while batches come, several times, and the engine goes on: after each cut the rest is replayed.
TEST_F(SubscriberTest, AStreamThatIsCutUnderLoadIsDeclaredAndCaughtUp) {
  Engine engine(Options());
  Relay live(engine.Source({1, 1}, "x").endpoint);
  Open();
  EventSource source = engine.Source({1, 1}, "127.0.0.1:8000");
  source.endpoint = live.endpoint();
  Add(source);
  EXPECT_TRUE(Await([&] { return index_.TrustOf({1, 1}) == Trust::kExact; }));
  int stored = 0;
  for (int cut = 0; cut < 3; ++cut) {
    for (int n = 0; n < 200; ++n) engine.Store(stored++, 1);
    live.Cut();
    for (int n = 0; n < 200; ++n) engine.Store(stored++, 1);
    EXPECT_TRUE(Await([&] { return index_.TrustOf({1, 1}) == Trust::kNotConnected; })) << "said at once";
    live.Mend();
    EXPECT_TRUE(AwaitExact(1, static_cast<uint32_t>(stored)));
  }
  EXPECT_EQ(StatusOf(1).blocks.lost_parents, 0u);
}

// A ROUTER of the older framing, without topics, and one that cuts its history and never says END.
class ReplayServer {
 public:
  ReplayServer() : context_(zmq_ctx_new()), socket_(zmq_socket(context_.get(), ZMQ_ROUTER)) {
    SetInt(socket_.get(), ZMQ_LINGER, 0);
    SetInt(socket_.get(), ZMQ_RCVTIMEO, 20'000);
    endpoint_ = *Attach(socket_.get(), "tcp://127.0.0.1:*", true, "replay");
  }
  // Receives one request and answers it.
  void Serve(const std::vector<std::vector<std::string>>& messages) {
    std::vector<std::string> request;
    int more = 1;
    while (more != 0) {
      char buffer[256];
      const int size = zmq_recv(socket_.get(), buffer, sizeof(buffer), 0);
      ASSERT_GE(size, 0) << "no request came";
      request.emplace_back(buffer, static_cast<size_t>(size));
      size_t length = sizeof(more);
      zmq_getsockopt(socket_.get(), ZMQ_RCVMORE, &more, &length);
    }
    ASSERT_EQ(request.size(), 3u);
    for (const auto& frames : messages) {
      SendFrame(socket_.get(), request[0], ZMQ_SNDMORE);
      SendFrame(socket_.get(), {}, ZMQ_SNDMORE);
      for (size_t i = 0; i < frames.size(); ++i) {
        SendFrame(socket_.get(), frames[i], i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
      }
    }
  }
  const std::string& endpoint() const { return endpoint_; }

 private:
  Context context_;
  Socket socket_;
  std::string endpoint_;
};
std::string Number(uint64_t n) {
  const auto bytes = BigEndian(n);
  return {bytes.data(), bytes.size()};
}
std::string StoredBatch(int n) {
  BlockDigest digest{.size = 32};
  digest.bytes[31] = static_cast<uint8_t>(n + 1);
  BlockStored event{.block_hashes = {digest}, .block_size = kBlock};
  if (n > 0) {
    event.parent_block_hash = digest;
    event.parent_block_hash->bytes[31] = static_cast<uint8_t>(n);
  }
  event.token_ids.resize(kBlock);
  std::iota(event.token_ids.begin(), event.token_ids.end(), n * kBlock);
  return EncodeBatch({.unix_seconds = 1, .events = {event}}, HashForm::kLow64);
}

TEST_F(SubscriberTest, Trap3BothFramingsOfReplays) {
  for (const bool with_topic : {false, true}) {
    Engine live(Options());
    ReplayServer server;
    Open();
    EventSource source = live.Source({1, 1}, "127.0.0.1:8000");
    source.replay_endpoint = server.endpoint();
    source.model = with_topic ? "" : "m";
    Add(source);
    std::vector<std::vector<std::string>> answer;
    for (uint64_t n = 0; n < 3; ++n) answer.push_back({Number(n), StoredBatch(static_cast<int>(n))});
    answer.push_back({Number(~uint64_t{0}), ""});
    if (with_topic) {
      for (size_t i = 0; i < answer.size(); ++i) answer[i].insert(answer[i].begin(), i < 3 ? "kv@x@m" : "");
    }
    server.Serve(answer);
    EXPECT_TRUE(AwaitExact(1, 3)) << with_topic;
    subscriber_.reset();
    EXPECT_EQ(index_.Read().holders, 0u);
  }
}

TEST_F(SubscriberTest, AReplayThatIsNeverEndedIsResumedAndThenGivenUp) {
  Engine live(Options());
  ReplayServer server;
  SubscriberOptions options;
  options.feed.replay_idle = std::chrono::milliseconds(50);
  options.feed.replay_retry = std::chrono::milliseconds(1);
  Open(options);
  EventSource source = live.Source({1, 1}, "127.0.0.1:8000");
  source.replay_endpoint = server.endpoint();
  Add(source);
  server.Serve(
      {{"kv@x@m", Number(0), StoredBatch(0)}, {"odd"}, {"", "", "", ""}});  // progress, and two that mean nothing
  for (int attempt = 0; attempt < 3; ++attempt) server.Serve({});
  EXPECT_TRUE(Await([&] { return index_.TrustOf({1, 1}) == Trust::kHistoryLost; }));
  EXPECT_EQ(Held(1), 1u);
  EXPECT_TRUE(Await([&] { return StatusOf(1).feed.replay_failures == 1; }));
  EXPECT_EQ(StatusOf(1).feed.replays, 4u);
}

TEST_F(SubscriberTest, AddressesThatCannotBeAreErrors) {
  Open();
  const auto malformed =
      subscriber_->Add({.id = {1, 1}, .host_port = "a", .endpoint = "tcp:/x", .replay_endpoint = {}, .model = {}});
  ASSERT_FALSE(malformed.has_value());
  EXPECT_EQ(malformed.error().code, Code::kInvalidArgument);
  EXPECT_EQ(index_.TrustOf({1, 1}), Trust::kNoEvents);
  Engine taken(Options());
  SubscriberOptions options;
  options.bind_endpoint = taken.publisher().BoundReplayEndpoint();
  const auto refused = Subscriber::Open(options, index_, clock_);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kConflict);
}

}  // namespace
}  // namespace sluice::kvindex

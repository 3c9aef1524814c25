// A real subscriber and a real replay client, over TCP on loopback.
#include "kvindex/events/publisher.h"

#include <gtest/gtest.h>
#include <zmq.h>

#include <chrono>

namespace sluice::kvindex {
namespace {

constexpr int kPatienceMs = 10'000;

class Peer {
 public:
  explicit Peer(int type) : context_(zmq_ctx_new()), socket_(zmq_socket(context_, type)) {
    const int no_linger = 0;
    zmq_setsockopt(socket_, ZMQ_LINGER, &no_linger, sizeof(no_linger));
    Patience(kPatienceMs);
  }
  ~Peer() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  void Patience(int ms) { zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &ms, sizeof(ms)); }
  void Connect(const std::string& endpoint) { ASSERT_EQ(zmq_connect(socket_, endpoint.c_str()), 0) << endpoint; }
  std::string Bind() {
    EXPECT_EQ(zmq_bind(socket_, "tcp://127.0.0.1:*"), 0);
    char buffer[256];
    size_t size = sizeof(buffer);
    zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, buffer, &size);
    return buffer;
  }
  void Subscribe(const std::string& prefix) { zmq_setsockopt(socket_, ZMQ_SUBSCRIBE, prefix.data(), prefix.size()); }
  void Send(const std::vector<std::string>& frames) {
    for (size_t i = 0; i < frames.size(); ++i) {
      zmq_send(socket_, frames[i].data(), frames[i].size(), i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
    }
  }
  // All frames of the next message; empty when none came in time.
  std::vector<std::string> Receive() {
    std::vector<std::string> frames;
    int more = 1;
    while (more != 0) {
      zmq_msg_t frame;
      zmq_msg_init(&frame);
      if (zmq_msg_recv(&frame, socket_, 0) < 0) return {};
      frames.emplace_back(static_cast<const char*>(zmq_msg_data(&frame)), zmq_msg_size(&frame));
      more = zmq_msg_more(&frame);
      zmq_msg_close(&frame);
    }
    return frames;
  }

 private:
  void* context_;
  void* socket_;
};

std::string Number(uint64_t value, int bytes = 8) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(value >> (8 * i)));
  return out;
}

EventBatch Batch(double stamp) { return {.unix_seconds = stamp, .events = {AllBlocksCleared{}}}; }
std::string Bytes(double stamp) { return EncodeBatch(Batch(stamp), HashForm::kLow64); }

PublisherOptions Options() {
  return {.enable_kv_cache_events = true,
          .endpoint = "tcp://127.0.0.1:*",
          .replay_endpoint = "tcp://127.0.0.1:*",
          .topic = "kv@127.0.0.1:8000@m"};
}

std::unique_ptr<Publisher> Open(const PublisherOptions& options) {
  auto publisher = Publisher::Open(options);
  EXPECT_TRUE(publisher.has_value()) << (publisher ? "" : publisher.error().message);
  return std::move(*publisher);
}

// Publishes until the subscription is in place, then returns the first message that arrived.
std::vector<std::string> FirstMessage(Publisher& publisher, Peer& subscriber, uint64_t& published) {
  subscriber.Patience(20);
  std::vector<std::string> frames;
  for (int i = 0; i < kPatienceMs / 20 && frames.empty(); ++i) {
    publisher.Publish(Batch(static_cast<double>(published++)));
    frames = subscriber.Receive();
  }
  subscriber.Patience(kPatienceMs);
  return frames;
}

TEST(Publisher, SubscriberGetsTopicSequenceAndPayload) {
  auto publisher = Open(Options());
  Peer subscriber(ZMQ_SUB);
  subscriber.Subscribe("kv@");
  subscriber.Connect(publisher->BoundEndpoint());
  uint64_t published = 0;
  auto frames = FirstMessage(*publisher, subscriber, published);
  ASSERT_EQ(frames.size(), 3u);
  for (int i = 0; i < 100; ++i) publisher->Publish(Batch(static_cast<double>(published++)));
  uint64_t sequence = 0;
  for (const char c : frames[1]) sequence = sequence << 8 | static_cast<uint8_t>(c);
  while (sequence + 1 < published) {
    ++sequence;
    frames = subscriber.Receive();
    ASSERT_EQ(frames.size(), 3u);
    EXPECT_EQ(frames[0], "kv@127.0.0.1:8000@m");
    ASSERT_EQ(frames[1], Number(sequence));
    EXPECT_EQ(frames[2], Bytes(static_cast<double>(sequence)));
  }
  EXPECT_EQ(publisher->Dropped(), 0u);
}

TEST(Publisher, AnEmptyBatchIsNotSentAndSpendsNoNumber) {
  auto publisher = Open(Options());
  publisher->Publish({.unix_seconds = 1});
  publisher->Publish(Batch(2));
  Peer client(ZMQ_DEALER);
  client.Connect(publisher->BoundReplayEndpoint());
  client.Send({"", Number(0)});
  const auto frames = client.Receive();
  ASSERT_EQ(frames.size(), 4u);
  EXPECT_EQ(frames[2], Number(0));
  EXPECT_EQ(frames[3], Bytes(2));
}

// A request may overtake batches that are still queued: asks until the last is there.
void AwaitSent(Peer& client, uint64_t last) {
  for (int i = 0; i < 1000; ++i) {
    client.Send({"", Number(last)});
    bool seen = false;
    for (auto frames = client.Receive(); frames.size() == 4 && frames[2] != Number(~uint64_t{0});
         frames = client.Receive()) {
      seen = seen || frames[2] == Number(last);
    }
    if (seen) return;
  }
  FAIL() << "batch " << last << " was never sent";
}

TEST(Publisher, ReplayAnswersAsVllmDoes) {
  auto publisher = Open(Options());
  for (int i = 0; i < 5; ++i) publisher->Publish(Batch(i));
  Peer client(ZMQ_DEALER);
  client.Connect(publisher->BoundReplayEndpoint());
  AwaitSent(client, 4);
  const auto expect_from = [&](uint64_t start) {
    for (uint64_t sequence = start; sequence < 5; ++sequence) {
      EXPECT_EQ(client.Receive(), (std::vector<std::string>{"", "kv@127.0.0.1:8000@m", Number(sequence),
                                                            Bytes(static_cast<double>(sequence))}));
    }
    EXPECT_EQ(client.Receive(), (std::vector<std::string>{"", "", Number(~uint64_t{0}), ""}));
  };
  client.Send({"", Number(0)});
  expect_from(0);
  client.Send({"", Number(4)});
  expect_from(4);
  client.Send({"", Number(3, 4)});  // four bytes are accepted
  expect_from(3);
  client.Send({"", Number(1000)});  // past the end: only the marker
  expect_from(5);
  // These get no answer, and the next good one does.
  client.Send({Number(0)});
  client.Send({"", Number(0, 3)});
  client.Send({"x", Number(0)});
  client.Send({"", Number(0), ""});
  client.Send({"", Number(2)});
  expect_from(2);
}

TEST(Publisher, AReqSocketGetsTheFirstBatch) {
  auto publisher = Open(Options());
  publisher->Publish(Batch(7));
  Peer dealer(ZMQ_DEALER);
  dealer.Connect(publisher->BoundReplayEndpoint());
  AwaitSent(dealer, 0);
  Peer client(ZMQ_REQ);
  client.Connect(publisher->BoundReplayEndpoint());
  client.Send({Number(0)});
  EXPECT_EQ(client.Receive(), (std::vector<std::string>{"kv@127.0.0.1:8000@m", Number(0), Bytes(7)}));
}

TEST(Publisher, ReplayKeepsTheLastBufferSteps) {
  PublisherOptions options = Options();
  options.buffer_steps = 3;
  auto publisher = Open(options);
  for (int i = 0; i < 10; ++i) publisher->Publish(Batch(i));
  Peer client(ZMQ_DEALER);
  client.Connect(publisher->BoundReplayEndpoint());
  AwaitSent(client, 9);
  client.Send({"", Number(0)});
  EXPECT_EQ(client.Receive().at(2), Number(7));
}

TEST(Publisher, AFullQueueDropsAndSpendsTheNumber) {
  PublisherOptions options = Options();
  options.max_queue_size = 1;
  auto publisher = Open(options);
  // Encoding a large batch takes longer than publishing one, so the queue of one fills at some point.
  BlockStored large{
      .block_hashes = {BlockDigest{.size = 32}}, .token_ids = std::vector<int32_t>(200'000, 1), .block_size = 200'000};
  uint64_t published = 0;
  while (publisher->Dropped() == 0 && published < 100'000) {
    publisher->Publish({.unix_seconds = 1, .events = {large}});
    ++published;
  }
  ASSERT_EQ(publisher->Dropped(), 1u);
  Peer client(ZMQ_DEALER);
  client.Connect(publisher->BoundReplayEndpoint());
  AwaitSent(client, published - 2);
  publisher->Publish(Batch(9));
  AwaitSent(client, published);
  client.Send({"", Number(published - 1)});
  EXPECT_EQ(client.Receive().at(2), Number(published)) << "the dropped batch's number must be missing";
}

TEST(Publisher, ConnectsToACentralSubscriber) {
  Peer subscriber(ZMQ_SUB);
  subscriber.Subscribe("");
  PublisherOptions options = Options();
  options.endpoint = subscriber.Bind();
  options.replay_endpoint.clear();
  auto publisher = Open(options);
  EXPECT_EQ(publisher->BoundReplayEndpoint(), "");
  uint64_t published = 0;
  EXPECT_EQ(FirstMessage(*publisher, subscriber, published).size(), 3u);
}

TEST(Publisher, WhatIsQueuedIsSentBeforeClosing) {
  Peer subscriber(ZMQ_SUB);
  subscriber.Subscribe("");
  PublisherOptions options = Options();
  options.endpoint = subscriber.Bind();
  auto publisher = Open(options);
  uint64_t published = 0;
  ASSERT_EQ(FirstMessage(*publisher, subscriber, published).size(), 3u);
  for (int i = 0; i < 500; ++i) publisher->Publish(Batch(static_cast<double>(published++)));
  const auto begin = std::chrono::steady_clock::now();
  publisher.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  std::string last;
  while (last != Number(published - 1)) {
    const auto frames = subscriber.Receive();
    ASSERT_EQ(frames.size(), 3u) << "the last batch never came";
    last = frames[1];
  }
}

TEST(Publisher, ATakenOrMalformedAddressIsAnError) {
  auto first = Open(Options());
  PublisherOptions options = Options();
  options.replay_endpoint = first->BoundReplayEndpoint();
  const auto taken = Publisher::Open(options);
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().code, Code::kConflict);
  EXPECT_EQ(taken.error().param, "replay_endpoint");
  EXPECT_NE(taken.error().message.find(options.replay_endpoint), std::string::npos);
  options.endpoint = "tcp:/*:1";
  const auto malformed = Publisher::Open(options);
  ASSERT_FALSE(malformed.has_value());
  EXPECT_EQ(malformed.error().code, Code::kInvalidArgument);
}

TEST(Publisher, TheNullPublisherOpensNothing) {
  PublisherOptions options = Options();
  options.publisher = "null";
  auto publisher = Open(options);
  publisher->Publish(Batch(1));
  EXPECT_EQ(publisher->BoundEndpoint(), "");
}

TEST(PublisherOptions, DefaultsAndFieldsAreVllms) {
  const auto all = ParsePublisherOptions(
      R"({"enable_kv_cache_events":true,"endpoint":"tcp://*:5567","replay_endpoint":"tcp://*:5568","buffer_steps":5,
          "hwm":7,"max_queue_size":9,"topic":"kv@a@b"})");
  ASSERT_TRUE(all.has_value()) << all.error().message;
  EXPECT_EQ(all->publisher, "zmq");
  EXPECT_EQ(all->endpoint, "tcp://*:5567");
  EXPECT_EQ(all->replay_endpoint, "tcp://*:5568");
  EXPECT_EQ(all->buffer_steps, 5);
  EXPECT_EQ(all->hwm, 7);
  EXPECT_EQ(all->max_queue_size, 9);
  EXPECT_EQ(all->topic, "kv@a@b");
  const auto none = ParsePublisherOptions(R"({"publisher":null,"replay_endpoint":null})");
  ASSERT_TRUE(none.has_value());
  EXPECT_FALSE(none->enable_kv_cache_events);
  EXPECT_EQ(none->publisher, "null");
  EXPECT_EQ(none->endpoint, "tcp://*:5557");
  EXPECT_EQ(none->buffer_steps, 10'000);
}

TEST(PublisherOptions, FaultsNameTheKey) {
  const auto message = [](std::string_view json) {
    const auto options = ParsePublisherOptions(json);
    return options ? std::string("accepted") : options.error().message;
  };
  EXPECT_NE(message(R"({"endpoind":"x"})").find("did you mean 'endpoint'"), std::string::npos);
  EXPECT_NE(message(R"({"hwm":"7"})").find("hwm must be a whole number from 1"), std::string::npos);
  EXPECT_NE(message(R"({"hwm":0})").find("hwm must be"), std::string::npos);
  EXPECT_NE(message(R"({"buffer_steps":18446744073709551615})").find("buffer_steps must be"), std::string::npos);
  EXPECT_NE(message(R"({"enable_kv_cache_events":1})").find("true or false"), std::string::npos);
  EXPECT_NE(message(R"({"publisher":"kafka"})").find("'kafka'"), std::string::npos);
  EXPECT_NE(message("[1]").find("must be a JSON object"), std::string::npos);
  EXPECT_NE(message("{").find("not valid JSON"), std::string::npos);
}

}  // namespace
}  // namespace sluice::kvindex

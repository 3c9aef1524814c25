// Subscriber: listens to engines' KV events on ZMQ and keeps PrefixIndex true. Per pod it connects a SUB socket to the
// engine's publisher (and, for replays, a DEALER to its ROUTER); in central mode it binds one SUB socket, engines
// connect, and the topic kv@<ip:port>@<model> says whose events they are. Both may be used at once. What a stream's
// numbers mean and when a resync is due is EndpointFeed's; how events become blocks is EndpointBlocks'.
//
// Identity: Add() takes the pool's EndpointId together with its "ip:port" (model::Endpoint::host_port(), IPv6 in
// brackets), which is what topics name; the id is what the index's matches carry. A discovered endpoint's events are
// its own whatever their topic says, so that only the topic's model counts. Data parallel: every rank has its own
// serving port, so it is an endpoint of its own; its publisher is at the base port plus its rank (PodSource), and a
// batch's own rank is not looked at.
//
// Thread rule: one thread of its own owns all sockets and feeds; every method may be called from any thread. Endpoints
// may be spread over several Subscribers (ShardOf), each with its own. Ownership: the index and the clock must outlive
// it; the destructor closes, joins and removes its endpoints from the index. Memory: ZMQ holds at most `receive_hwm`
// batches an endpoint, each of at most `message_bytes_max`; beyond, the publisher drops, which is a gap and is
// resynced. Cost: no log and no metric is written here; Statuses() copies counters for whoever publishes them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "kvindex/block_keys.h"
#include "kvindex/events/endpoint_feed.h"
#include "kvindex/prefix_index.h"
#include "model/endpoint.h"

namespace sluice::kvindex {

struct SubscriberOptions {
  std::string bind_endpoint;  // central mode: "tcp://*:5557"; empty: none
  std::string topic_filter = "kv@";
  BlockKeys::Options keys;
  FeedOptions feed;
  int replays_max = 8;  // at once
  int receive_hwm = 10'000;
  int64_t message_bytes_max = 16 << 20;
};

// Where an endpoint's events are.
struct EventSource {
  model::EndpointId id;
  std::string host_port;        // the name in topics
  std::string endpoint;         // "tcp://10.0.0.5:5557"; empty: they come to bind_endpoint
  std::string replay_endpoint;  // empty: no replays
  std::string model;  // until a topic names it; only needed with replays that carry no topic (SGLang, older vLLM)
};
// The source of a discovered pod: `port` (5557) and `replay_port` (0: none) plus its data-parallel rank.
EventSource PodSource(const model::Endpoint& endpoint, model::EndpointId id, uint16_t port, uint16_t replay_port,
                      uint16_t rank);
// Upstream's spreading of endpoints over workers: FNV-1a-32 of the name, modulo `shards`.
uint32_t ShardOf(std::string_view host_port, uint32_t shards);

// kv@<pod>@<model>; anything else is all pod and no model.
struct Topic {
  std::string_view pod, model;
};
Topic ParseTopic(std::string_view topic);

struct FeedStatus {
  model::EndpointId id;
  std::string host_port;
  bool connected = false;
  Trust trust = Trust::kNotConnected;  // anything but kExact is degraded
  double trust_seconds = 0;            // how long it has been so
  std::optional<uint64_t> last_sequence;
  EndpointFeed::Counters feed;
  EndpointBlocks::Counters blocks;
  uint32_t held = 0;  // blocks listed in the index
};
struct SubscriberStats {
  uint64_t bad_messages = 0;    // not three frames with an eight-byte number
  uint64_t unknown_topics = 0;  // central mode: batches of nobody that was added
  uint64_t socket_errors = 0;
};

class Subscriber {
 public:
  // Fails when bind_endpoint is malformed or taken.
  static Result<std::unique_ptr<Subscriber>> Open(const SubscriberOptions& options, PrefixIndex& index,
                                                  const Clock& clock);
  ~Subscriber();
  // Fails when the index has no slot left, the addresses are malformed or the name is there already.
  Status Add(EventSource source);
  // Returns at once. Lookups do not see the endpoint any more; its blocks leave the index by and by.
  void Remove(model::EndpointId id);
  std::vector<FeedStatus> Statuses() const;
  SubscriberStats Stats() const;
  // Where bind_endpoint ended up.
  const std::string& BoundEndpoint() const;

 private:
  struct Impl;
  explicit Subscriber(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::kvindex

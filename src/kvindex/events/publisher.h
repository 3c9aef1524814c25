// Publisher: sends KV events on ZMQ as vLLM does (PUB of [topic, 8-byte big-endian sequence, msgpack]; optional ROUTER
// that replays the last `buffer_steps` batches). One thread of its own owns both sockets. Thread rule: Publish() from
// one thread, Dropped() from any. Ownership: the publisher owns its thread and sockets; the destructor sends what is
// queued and joins, within about a second. Cost: Publish moves the batch into a bounded queue and never blocks;
// encoding is done on the publisher's thread. When the queue is full the batch is dropped with its sequence number
// spent, so that subscribers see the gap; Dropped() counts it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kvindex/events/encode.h"
#include "kvindex/events/event.h"

namespace sluice::kvindex {

// vLLM's KVEventsConfig, names and defaults.
struct PublisherOptions {
  bool enable_kv_cache_events = false;
  std::string publisher = "zmq";  // or "null"
  std::string endpoint = "tcp://*:5557";
  std::string replay_endpoint;  // empty: none
  int64_t buffer_steps = 10'000;
  int hwm = 100'000;
  int64_t max_queue_size = 100'000;
  std::string topic;
  bool bind = false;  // not vLLM's: binds `endpoint` whatever it looks like, for one address of the machine only
  HashForm hash_form = HashForm::kLow64;  // vLLM takes this one from the environment, not from the JSON
};
// From the JSON of --kv-events-config; an unknown key is an error that names the nearest one. As in vLLM, a publisher
// that is null or absent is "zmq" when events are enabled and "null" (nothing is sent) otherwise.
Result<PublisherOptions> ParsePublisherOptions(std::string_view json);

class Publisher {
 public:
  // Binds when the endpoint has `*` or `::` or is ipc:// or inproc://, else connects (a central subscriber binds); the
  // replay endpoint always binds. Fails when an address is malformed or taken. publisher "null" opens nothing.
  static Result<std::unique_ptr<Publisher>> Open(const PublisherOptions& options);
  ~Publisher();
  void Publish(EventBatch batch);
  // Batches lost because the queue was full.
  uint64_t Dropped() const;
  // Where the sockets ended up ("tcp://127.0.0.1:40123" when the endpoint said port *). For tests and logs.
  const std::string& BoundEndpoint() const;
  const std::string& BoundReplayEndpoint() const;

 private:
  struct Impl;
  explicit Publisher(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::kvindex

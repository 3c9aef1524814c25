// CacheFeed: a pool's subscriptions to its engines' KV events. Precise prefix producers open an index here
// (schedule/cache_index.h); every endpoint of the pool is then listened to for it, from when it comes until it goes,
// and what the producers must know about that (who can be trusted, since when, why not) becomes metrics, one log line a
// change, and the answer of GET /debug/cache. Without such a producer it does nothing.
//
// Where an endpoint's events are: at its address and the port in its label llm-d.ai/kv-events-port, else at
// kvEventsConfig's socketPort plus its rank ("…-rank-2" in its id); replays likewise, at llm-d.ai/kv-events-replay-port
// or replaySocketPort. Or, with discoverPods false, at the bound zmqEndpoint alone. Thread rule: the loop's thread;
// each kvindex::Subscriber has its own. Ownership: an index and its subscriptions end when no policy reads it any more.
// Cost: Look() a copy of the counters a call; adding an endpoint waits for the subscriber's thread, removing one does
// not.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "codec/json/write.h"
#include "kvindex/events/subscriber.h"
#include "model/endpoint.h"
#include "schedule/cache_index.h"
#include "serving/cache_metrics.h"

namespace sluice::serving {

inline constexpr std::string_view kEventsPortLabel = "llm-d.ai/kv-events-port";
// What all indexes of a process may take unless it is said otherwise.
inline constexpr size_t kCacheBytesMax = size_t{1} << 30;
inline constexpr std::string_view kReplayPortLabel = "llm-d.ai/kv-events-replay-port";

// The data-parallel rank in an endpoint's id, "namespace/pod-rank-2"; 0 without one.
uint16_t RankOf(const model::Endpoint& endpoint);
// What to listen to for an endpoint.
kvindex::EventSource SourceOf(const model::Endpoint& endpoint, model::EndpointId id,
                              const schedule::CacheEvents& events);

class CacheFeed final : public schedule::CacheIndexes {
 public:
  // `memory`: the limit of all indexes of the process, shared by its pools; null: this feed's own of kCacheBytesMax.
  CacheFeed(std::string pool, CacheMetrics& metrics, const Clock& clock,
            std::shared_ptr<kvindex::MemoryBudget> memory = {});
  ~CacheFeed() override;

  std::shared_ptr<schedule::CacheIndex> Open(const schedule::CacheSettings& settings) override;
  // Endpoints of the pool come and go.
  void Add(model::EndpointId id, const model::Endpoint& endpoint);
  void Remove(model::EndpointId id);
  // Its labels changed: subscribed to anew when its events are elsewhere now.
  void Update(model::EndpointId id, const model::Endpoint& endpoint);
  // Upkeep, metrics, and a log line for each change. Call it a few times a second.
  void Look();

  // An array with an object for each index, for GET /debug/cache (cache_report.cc).
  void Write(codec::JsonWriter& json) const;
  std::string Table() const;

 private:
  // How answers compared with what was expected, of one endpoint.
  struct Record {
    uint64_t answers = 0;
    uint64_t prompt_tokens = 0, cached_tokens = 0, predicted_tokens = 0;
    uint64_t exact = 0, over = 0, under = 0, untrusted = 0;
  };
  class Index;
  struct Seen {
    model::Endpoint endpoint;
    kvindex::EventSource source;
    std::string problem;  // why it could not be subscribed to; empty: it was
    kvindex::FeedStatus status;
    kvindex::Trust told = kvindex::Trust::kNotConnected;  // in the log
    TimePoint heard{};                                    // the last batch
  };
  struct Feed {
    schedule::CacheSettings settings;
    std::shared_ptr<Index> index;  // outlives the subscribers
    std::vector<std::unique_ptr<kvindex::Subscriber>> subscribers;
    std::vector<kvindex::SubscriberStats> stats;  // one a subscriber, as last seen
    kvindex::PrefixIndex::Stats index_stats;
    std::string problem;                            // why there are no subscribers
    std::map<std::string, Seen, std::less<>> seen;  // by host_port
  };

  void Subscribe(Feed& feed, model::EndpointId id, const model::Endpoint& endpoint);
  kvindex::Subscriber* SubscriberOf(Feed& feed, std::string_view host_port);
  void OpenSubscribers(Feed& feed);
  void LookAt(Feed& feed);
  void LookAt(Feed& feed, Seen& seen, const kvindex::FeedStatus& status);
  void Tell(const Feed& feed, Seen& seen) const;
  void WriteFeed(codec::JsonWriter& json, const Feed& feed) const;

  const std::string pool_;
  CacheMetrics& metrics_;
  const Clock& clock_;
  const std::shared_ptr<kvindex::MemoryBudget> memory_;
  std::vector<std::pair<model::EndpointId, model::Endpoint>> endpoints_;
  std::vector<std::unique_ptr<Feed>> feeds_;
  TimePoint maintained_at_{};
};

}  // namespace sluice::serving

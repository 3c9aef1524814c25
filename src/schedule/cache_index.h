// CacheIndex: what is known of engines' KV caches, as precise prefix producers ask for it. CacheIndexes gives it out:
// producers with equal settings share one, so that a policy and its shadows follow each engine once. Whoever owns the
// endpoints (serving::CacheFeed) implements it and keeps the indexes true by the engines' events; without one nobody
// listens, and a producer says so.
// Thread rule: CacheIndexes and the On… calls belong to the scheduler's owner; kvindex::PrefixIndex has its own rule.
// Ownership: shared; an index lives as long as some policy's state reads it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "kvindex/block_keys.h"
#include "kvindex/prefix_index.h"
#include "model/endpoint.h"

namespace sluice::schedule {

// Where engines' events are to be had; upstream's kvEventsConfig.
struct CacheEvents {
  std::string bind_endpoint;  // engines connect to it; empty: none
  std::string topic_filter = "kv@";
  bool sglang = false;        // else vLLM's encoding
  bool discover_pods = true;  // connect to each endpoint
  uint16_t port = 5557;       // plus the endpoint's data-parallel rank
  uint16_t replay_port = 0;   // likewise; 0: no replays
  uint32_t concurrency = 4;   // threads that read
  bool operator==(const CacheEvents&) const = default;
};

struct CacheSettings {
  uint32_t block_size_tokens = 16;
  std::string hash_seed;
  kvindex::KeyAlgorithm hash_algorithm = kvindex::KeyAlgorithm::kCborFnv;
  size_t bytes_max = size_t{256} << 20;
  Duration speculative_ttl = std::chrono::seconds(2);
  CacheEvents events;
  bool operator==(const CacheSettings&) const = default;
};

class CacheIndex {
 public:
  static constexpr uint32_t kEndpointsMax = 8191;

  // `whole`: a limit of several indexes, of which the index's FixedBytes are taken already; or null.
  CacheIndex(const CacheSettings& settings, const Clock& clock_in, std::shared_ptr<kvindex::MemoryBudget> whole = {})
      : whole_(std::move(whole)),
        keys({.algorithm = settings.hash_algorithm,
              .hash_seed = settings.hash_seed,
              .block_size_tokens = settings.block_size_tokens}),
        clock(clock_in),
        index(OptionsOf(settings, whole_.get()), clock_in) {}
  virtual ~CacheIndex() = default;
  static kvindex::PrefixIndex::Options OptionsOf(const CacheSettings& settings, kvindex::MemoryBudget* whole) {
    return {.bytes_max = settings.bytes_max,
            .endpoints_max = kEndpointsMax,
            .speculative_ttl = settings.speculative_ttl,
            .whole = whole};
  }

  struct Looked {
    uint64_t hits = 0;     // (block, endpoint) pairs found
    uint32_t deepest = 0;  // blocks of the endpoint that holds most
    Duration took{};
  };
  virtual void OnLookup(const Looked& looked) { (void)looked; }

  // What became of a request whose tokens were known.
  struct Answered {
    model::EndpointId endpoint;
    std::string_view request_id;
    uint32_t predicted_tokens = 0;  // cached ones
    bool exact = false;             // the endpoint could be trusted when it was asked
    int64_t prompt_tokens = 0, cached_tokens = 0;
  };
  virtual void OnAnswered(const Answered& answered) { (void)answered; }

 private:
  const std::shared_ptr<kvindex::MemoryBudget> whole_;  // outlives the index

 public:
  const kvindex::BlockKeys keys;
  const Clock& clock;
  kvindex::PrefixIndex index;
};

class CacheIndexes {
 public:
  virtual ~CacheIndexes() = default;
  // Null when there is no memory for one more.
  virtual std::shared_ptr<CacheIndex> Open(const CacheSettings& settings) = 0;
};

}  // namespace sluice::schedule

// PrefixIndex answers: of this chain of blocks, how many leading ones does each endpoint hold, on which tier, and who
// says so? One per process; everything that knows about caches writes to it, every scheduler reads it.
//
// Identity: the pool names endpoints by model::EndpointId, engines and KV events by "ip:port". Both meet where an
// endpoint is subscribed to: events::Subscriber::Add takes the id together with model::Endpoint::host_port(), calls
// AddEndpoint(id) here and writes under the slot it got. Lookups answer with ids. A slot is the index's own number,
// given again only after everything under it is gone, so a successor never inherits blocks.
//
// Shape: 64 shards, each a table of 64-byte buckets of five (key, word) cells; a key lives in one of two buckets. A
// word is one holder of the key: slot, holdings (one bit a tier, one for speculation, one for own history), time of
// last use. A key with more than two holders has one cell that names a record: a list of words, or for many holders
// one bitset a holding.
//
// Thread rule: writers of different endpoints may run on different threads; they lock one shard at a time, for one key.
// Readers take no lock and never wait for a writer: a cell's word is stored in one piece, a bucket's version grows
// whenever a cell changes its key (between the new key's store and its word's) or a holder moves (between its copy and
// its erasure), and a reader that sees the version change reads that bucket again: that needs a writer that got past
// the change, not one that is stopped before it. Tables and records that were replaced are freed when no reader that
// could see them is left.
//
// Memory: tables grow by an eighth at 90 % of their cells; every byte is granted by one MemoryBudget,
// so `bytes_max` is never passed. When it is reached, the least recently used of the ten cells where the new key could
// live leaves ("use": it was stored, announced again, or a request was sent to it). At most 18 bytes a holder; with
// the map from engine hashes (engine_block_map.h), which draws from the same budget, at most 38.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "kvindex/memory_budget.h"
#include "model/endpoint.h"

namespace sluice::kvindex {

// How an endpoint holds a block: on a tier, as its events say; or presumably, because a request was just sent there
// (speculative) or some time ago (history).
using Holding = uint8_t;
inline constexpr Holding kGpu = 0, kCpu = 1, kDisk = 2, kShared = 3;  // 4 and 5: tiers by name, see PrefixIndex::Tier
inline constexpr Holding kTiersMax = 6;
inline constexpr Holding kSpeculative = 6, kHistory = 7;
inline constexpr size_t kHoldings = 8;
inline constexpr uint8_t kEventHoldings = (1u << kTiersMax) - 1;

// What a block is worth by where it is; the scheduler's choice. A block held in several ways counts as its best one.
class HoldingWeights {
 public:
  // Upstream's: gpu 1.0, cpu 0.8, everything else 1.0.
  HoldingWeights() : HoldingWeights({1.0f, 0.8f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f}) {}
  explicit HoldingWeights(const std::array<float, kHoldings>& weights);
  float operator[](Holding holding) const { return weights_[holding]; }
  // The heaviest holding of a set (equal weights: the lowest number, so that events come before presumptions).
  Holding Best(uint8_t set) const { return best_[set]; }
  std::span<const Holding, kHoldings> Order() const { return order_; }

 private:
  std::array<float, kHoldings> weights_;
  std::array<Holding, kHoldings> order_{};
  std::array<Holding, 256> best_{};
};

// Whether an endpoint's events can be relied on, and if not, why. Set by the subscriber, shown by every match.
enum class Trust : uint8_t {
  kExact,         // every event since the engine's start was applied
  kNoEvents,      // nobody listens to this endpoint
  kNotConnected,  // never connected, or the connection is lost
  kCatchingUp,    // a replay is under way or is due
  kHistoryLost,   // some stores were missed for good: what is listed is held, more may be
  kGap,           // batches were missed and there is no replay: the endpoint was cleared and is followed from there
  kLostParent,    // an event hung on a block that was never announced
  kUnreadable,    // some events could not be read
  kBlockSize,     // the engine's block size and ours do not divide each other
};
std::string_view Name(Trust trust);

struct PrefixMatch {
  model::EndpointId endpoint;
  uint32_t blocks = 0;                           // leading blocks held, each in at least one way
  float weighted = 0;                            // the same, each weighing what its best holding weighs
  std::array<uint32_t, kHoldings> by_holding{};  // how many of `blocks` have this as their best holding
  uint32_t age_seconds = 0;  // since the deepest of them was last stored, announced or used; exact to 4 s, at most
                             // 2,048. For a block with many holders: by any of them
  Trust trust = Trust::kNoEvents;
  bool Unconfirmed() const { return by_holding[kSpeculative] + by_holding[kHistory] > 0; }
};

class PrefixIndex;

// A reader's place: its matches and its working memory, made once a thread and reused. Lookup allocates nothing.
// Thread rule: one owner at a time. The index must outlive it.
class PrefixMatches {
 public:
  explicit PrefixMatches(const PrefixIndex& index);
  ~PrefixMatches();
  PrefixMatches(const PrefixMatches&) = delete;
  PrefixMatches& operator=(const PrefixMatches&) = delete;
  std::span<const PrefixMatch> All() const { return matches_; }  // in no order
  const PrefixMatch* Find(model::EndpointId endpoint) const;     // linear

 private:
  friend class PrefixWalk;
  friend class PrefixIndex;
  struct Scratch;
  std::vector<PrefixMatch> matches_;
  std::unique_ptr<Scratch> scratch_;
};

class PrefixIndex {
 public:
  struct Options {
    size_t bytes_max;           // at least kBytesMin and 28 bytes a speculative block
    uint32_t endpoints_max;     // 1 to 8,191
    uint32_t readers_max = 64;  // PrefixMatches alive at once
    Duration speculative_ttl = std::chrono::seconds(2);
    uint32_t speculative_blocks_max = 1 << 17;  // unconfirmed at once; beyond it the oldest end early
    // A limit of several indexes together, of which the caller has taken FixedBytes for this one; outlives the index.
    MemoryBudget* whole = nullptr;
  };
  // What an index takes from the start.
  static size_t FixedBytes(const Options& options);
  static constexpr size_t kBytesMin = 1u << 20;
  using Slot = uint16_t;
  enum class Stored : uint8_t { kNew, kHeldAlready, kRefused };  // refused: no memory

  PrefixIndex(const Options& options, const Clock& clock);
  ~PrefixIndex();

  // --- endpoints. Fails when endpoints_max are there; adding a present one gives its slot.
  Result<Slot> AddEndpoint(model::EndpointId endpoint);
  // Lookups stop seeing it, and nothing is presumed of it any more. Any thread.
  void HideEndpoint(model::EndpointId endpoint);
  // The same, by the thread that wrote under the slot and will not again. What is left under it is erased by and by
  // (ForgetSome); the slot is given again when that is done and every lookup that could have met it has ended.
  void RemoveEndpoint(Slot slot);
  // What is held of the endpoint by own history alone is void: erased by and by. Any thread.
  void ForgetHistory(model::EndpointId endpoint);
  // A step of the walk over the index that erases what was said to be erased: `buckets` of 64 bytes. False when nothing
  // is left to do, or another thread is at it.
  bool ForgetSome(size_t buckets);
  void SetTrust(Slot slot, Trust trust);
  // What a scheduler asks about an endpoint that has no match; kNoEvents for one that was never added.
  Trust TrustOf(model::EndpointId endpoint) const;

  // --- one block of one endpoint, by the thread that owns the endpoint's events.
  Stored Add(Slot slot, Holding holding, uint64_t key);
  // Takes away the holdings of `set`; returns those that are left.
  uint8_t Remove(Slot slot, uint8_t set, uint64_t key);
  // Brings the key's buckets nearer. Calling it some blocks ahead hides the memory's latency.
  void Prefetch(uint64_t key) const;
  // Seconds since the holder's last use, or nothing when it is not there.
  std::optional<uint32_t> AgeSeconds(Slot slot, uint64_t key) const;

  // --- by schedulers, any thread; unknown endpoints are ignored.
  // A request with this chain goes to `endpoint`: presume for the TTL that its blocks are there.
  void SpeculativeInsert(model::EndpointId endpoint, std::span<const uint64_t> chain);
  // Own history, for endpoints without events: stays until it is the least recently used.
  void InsertHistory(model::EndpointId endpoint, std::span<const uint64_t> chain);
  // A request uses these blocks: they are recent again. Nothing is added.
  void Touch(model::EndpointId endpoint, std::span<const uint64_t> chain);
  // Leading blocks held, one match for each endpoint that holds the first. Walks until no endpoint is left.
  void Lookup(std::span<const uint64_t> chain, const HoldingWeights& weights, PrefixMatches& out) const;

  // Ends speculation that is due, frees what readers have left, keeps ages from wrapping, forgets some. Call about once
  // a second from one thread; cost: a 64th of the index.
  void Maintain();

  // The tier of an event's medium in lower case: "" and gpu; cpu, cpu_pinned, cpu_tier1; disk, fs; shared, obj,
  // object_store, shared_storage, external; other names get 4 and 5 as they come, and when those are gone share 5.
  Holding Tier(std::string_view medium);
  std::string HoldingName(Holding holding) const;  // "gpu", …, "speculative", "history"

  struct Stats {
    size_t bytes = 0;  // granted by the budget: index, engine maps, speculations
    size_t bytes_max = 0;
    uint64_t holders = 0;                           // (block, endpoint) pairs
    uint64_t evicted = 0;                           // left because there was no memory
    uint64_t refused = 0;                           // not stored for the same reason
    uint64_t speculated = 0, speculations_cut = 0;  // blocks presumed; ended early because too many were
    uint32_t leaving = 0;                           // endpoints that were removed and whose slots are not free yet
  };
  Stats Read() const;
  uint32_t HoldersOf(Slot slot) const;  // blocks listed for one endpoint
  // Blocks of each endpoint by how they are held (one that is held in two ways counts in both), for people. A walk of
  // about 5 ns a cell: after `cells_max` the rest is extrapolated, as keys are spread evenly.
  struct HoldingCounts {
    model::EndpointId endpoint;
    std::array<uint64_t, kHoldings> blocks{};
  };
  std::vector<HoldingCounts> CountHoldings(size_t cells_max) const;
  MemoryBudget& Budget() { return *budget_; }
  const Options& options() const { return options_; }

  struct Impl;

 private:
  friend class PrefixMatches;
  friend class PrefixWalk;
  const Options options_;
  std::unique_ptr<MemoryBudget> budget_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::kvindex

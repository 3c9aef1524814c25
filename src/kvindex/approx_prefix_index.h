// ApproxPrefixIndex: which endpoint was sent which blocks lately; what approx-prefix-cache-producer guesses hits from.
// Per endpoint a least-recently-used set of block hashes with a hard capacity; over all endpoints a hard total.
// Why not the engines' events: it needs nothing from the engine. It is a guess; the precise index uses events.
// Thread rule: one owner (a shard). Ownership: no pointers out. Cost: Insert O(1) a block; Lookup O(1) a block and
// holder, ending at the first block that nobody holds; about 50 bytes an entry; removal of an endpoint frees its
// entries.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "model/endpoint.h"

namespace sluice::kvindex {

// The chain of upstream's approximate producer (checked against its vectors in the test): h[-1] = xxh64(model ‖ salt),
// b[i] = xxh64(block i as little-endian uint32), h[i] = xxh64(LE64(b[i]) ‖ LE64(h[i-1])). The last, partial block
// counts. Appends at most `blocks_max` hashes to `out`. Cost: about 0.1 ns a byte and 10 ns a block.
void AppendBlockChain(std::string_view model, std::string_view salt, std::span<const uint32_t> tokens,
                      uint32_t block_size, size_t blocks_max, std::vector<uint64_t>& out);

// xxh64 of any bytes: upstream's name for an image, a video or a sound. Cost: about 0.1 ns a byte.
uint64_t ContentHash(std::string_view content);

// Matched blocks by endpoint slot; sums over several Lookups until Clear.
struct ApproxMatches {
  std::vector<uint32_t> blocks_by_slot;
  std::vector<model::EndpointId> touched;  // those with at least one block
  void Clear();
};

class ApproxPrefixIndex {
 public:
  struct Options {
    size_t entries_max;  // over all endpoints
  };
  explicit ApproxPrefixIndex(Options options);

  // `endpoint` was sent `chain`. Leading blocks become the most recent, so that under pressure a chain loses its tail
  // first, as an engine does. `capacity`: entries this endpoint may have (at least 1); lowering it evicts.
  // When the total is reached, room is made in this endpoint or, if it has nothing, in the largest.
  void Insert(model::EndpointId endpoint, std::span<const uint64_t> chain, size_t capacity);

  // Adds to `out`, for each endpoint, how many blocks of `chain` it holds. Holes are tolerated; it ends at the first
  // block that nobody holds.
  void Lookup(std::span<const uint64_t> chain, ApproxMatches& out) const;

  // Forgets everything about the endpoint.
  void Remove(model::EndpointId endpoint);

  // Calls `gone(id)` for each endpoint that has entries and removes those for which it says true.
  template <class Gone>
  void RemoveIf(Gone&& gone) {
    for (uint32_t slot = 0; slot < servers_.size(); ++slot) {
      const model::EndpointId id{slot, servers_[slot].generation};
      if (servers_[slot].count > 0 && gone(id)) Remove(id);
    }
  }

  size_t entries() const { return entries_; }
  size_t EntriesOf(model::EndpointId endpoint) const;
  size_t ByteSize() const;

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};

  struct Node {
    uint64_t hash = 0;
    uint32_t slot = 0;
    uint32_t newer = kNone, older = kNone;              // in the endpoint's recency list; `older` also links free nodes
    uint32_t holder_prev = kNone, holder_next = kNone;  // in the list of endpoints that hold this hash
  };
  struct Server {
    uint32_t generation = 0;
    uint32_t newest = kNone, oldest = kNone;
    size_t count = 0;
  };
  // Open addressing over node numbers, linear probing, deletion by shifting back. The key is computed from the node.
  class Table {
   public:
    template <class Equal>
    uint32_t Find(uint64_t key, Equal&& equal) const {
      if (cells_.empty()) return kNone;
      for (size_t at = key & mask_;; at = (at + 1) & mask_) {
        if (cells_[at] == kNone || equal(cells_[at])) return cells_[at];
      }
    }
    template <class KeyOf>
    void Insert(uint64_t key, uint32_t node, KeyOf&& key_of);
    template <class KeyOf>
    void Erase(uint64_t key, uint32_t node, KeyOf&& key_of);
    void Replace(uint64_t key, uint32_t node, uint32_t with);
    size_t ByteSize() const { return cells_.capacity() * sizeof(uint32_t); }

   private:
    size_t Locate(uint64_t key, uint32_t node) const;
    std::vector<uint32_t> cells_;
    size_t mask_ = 0;
    size_t count_ = 0;
  };

  static uint64_t PairKey(uint64_t hash, uint32_t slot) { return hash ^ (uint64_t{slot} + 1) * 0x9e3779b97f4a7c15; }
  uint64_t PairKeyOf(uint32_t node) const { return PairKey(nodes_[node].hash, nodes_[node].slot); }
  uint32_t FirstHolder(uint64_t hash) const;
  Server& ServerOf(model::EndpointId endpoint);
  uint32_t Allocate();
  void Touch(Server& server, uint32_t node);
  void LinkNewest(Server& server, uint32_t node);
  void UnlinkRecency(Server& server, uint32_t node);
  void Evict(Server& server, uint32_t node);
  void MakeRoom(Server& server);

  Options options_;
  std::vector<Node> nodes_;
  uint32_t free_ = kNone;
  size_t entries_ = 0;
  std::vector<Server> servers_;  // by slot
  Table by_hash_;                // hash -> first holder
  Table by_pair_;                // hash and slot -> node
};

}  // namespace sluice::kvindex

// EndpointBlocks: what one engine says it holds, turned into the index's keys. Stores are hashed again from their
// tokens; the engine's hashes are kept only as names for removals, parents and tiers. What is not exact is not indexed,
// and counted:
// - A parent that was never announced: the chain's position is unknown (LostParent; the subscriber resyncs).
// - Groups of a hybrid model other than full attention say nothing about the prefix; they limit what the engine can
//   really reuse (Counters::limited_reuse). Spans whose tokens are not exactly those of their hashes have no positions.
// - Block sizes: an engine block may be several of ours (each part is kept under a name made of the hash and the part's
//   number), or several engine blocks one of ours, which is held while all of them are; the tokens of an unfinished one
//   are remembered for up to kTailsMax chains, as decoding announces one engine block at a time. Sizes that do not
//   divide each other cannot be mapped.
// - The same hash may be stored several times (several physical copies, several groups); it leaves with its last copy.
// Blocks without tokens only add a tier to blocks that are known. Events of a remote locality are about somebody else's
// memory and passed over.
// Thread rule: one owner, the thread that reads the endpoint's events. Ownership: its map (out of the index's budget);
// the destructor clears. Cost: a key, a map cell and an index cell a block, about 0.3 us.
#pragma once

#include <array>
#include <string>
#include <unordered_map>
#include <vector>

#include "kvindex/block_keys.h"
#include "kvindex/engine_block_map.h"
#include "kvindex/events/decode.h"
#include "kvindex/prefix_index.h"

namespace sluice::kvindex {

class EndpointBlocks final : public EventSink {
 public:
  struct Counters {
    uint64_t stored = 0;       // our blocks, as stores named them
    uint64_t removed = 0;      // engine blocks whose removal was applied
    uint64_t copies_left = 0;  // of those, the ones of which the engine has another copy: they stay
    uint64_t cleared = 0;      // AllBlocksCleared
    uint64_t tier_updates = 0;
    uint64_t lost_parents = 0;
    uint64_t other_groups = 0;      // events of groups that are not indexed
    uint64_t not_dense = 0;         // stores whose tokens are not those of their hashes
    uint64_t block_size_unfit = 0;  // stores whose block size and ours do not divide each other
    uint64_t unaligned = 0;         // stores that begin inside one of our blocks whose beginning is not remembered
    uint64_t remote = 0;
    uint64_t unknown_removed = 0;  // removals of hashes that are not known
    uint64_t without_memory = 0;   // blocks not stored, or let go, for want of memory
    bool limited_reuse = false;
  };
  static constexpr size_t kTailsMax = 64;
  static constexpr uint32_t kGroupsMax = 64;

  // `map_share`: EngineBlockMap's.
  EndpointBlocks(PrefixIndex& index, PrefixIndex::Slot slot, const BlockKeys& keys, size_t map_share);
  ~EndpointBlocks() override { Clear(); }

  // The model that chains without an adapter begin with: the topic's.
  void SetModel(std::string_view model) { model_ = model; }
  void OnEvent(const DecodedEvent& event) override;
  // Everything said so far is void.
  void Clear();
  const Counters& counters() const { return counters_; }
  size_t Entries() const { return map_.Entries(); }

 private:
  struct Extra {
    std::string text;
    int64_t start;  // where it begins, counted from the first token of our block; kNoStart: no place
    bool operator==(const Extra&) const = default;
  };
  static constexpr int64_t kNoStart = INT64_MIN;
  // A block of ours that began and is not full.
  struct Tail {
    uint64_t end_hash = 0;  // of the last engine block in it
    uint64_t parent = 0;
    std::vector<uint64_t> hashes;
    std::vector<uint32_t> tokens;
    std::vector<Extra> extras;
  };
  struct Op {
    uint64_t name;  // a hash, or what stands for a part
    uint64_t key;
  };
  enum class Group : uint8_t { kUnknown, kIndexed, kOther };

  void Stored(const DecodedEvent& event);
  void Removed(const DecodedEvent& event);
  bool Indexed(const DecodedEvent& event, bool store);
  bool Resolve(const DecodedEvent& event, Tail& tail);
  void StoreWhole(const DecodedEvent& event, uint64_t parent, Holding holding);
  void StoreParts(const DecodedEvent& event, Tail tail, Holding holding);
  void UpdateTier(const DecodedEvent& event, Holding holding);
  void ExtrasOf(const DecodedEvent& event, std::span<const DecodedExtra> of_block, bool first_block, uint32_t part,
                std::vector<std::string_view>& out) const;
  void Push(uint64_t name, uint64_t key, Holding holding);
  void Flush(Holding holding);
  bool SetName(uint64_t name, uint64_t key);
  bool Store(uint64_t name, uint64_t key, Holding holding);
  void CountCopy(uint64_t name, Holding holding);
  enum class Dropped : uint8_t { kUnknown, kGone, kCopyLeft };
  Dropped Drop(uint64_t name, Holding holding);
  void KeepTail(Tail tail);
  static uint64_t PartName(uint64_t hash, uint32_t part) { return hash ^ part * 0xa0761d6478bd642f; }
  static uint64_t InnerName(uint64_t hash) { return hash ^ 0xe7037ed1a0b428db; }
  static uint64_t CopyName(uint64_t name, Holding holding) { return name ^ (holding + 1u) * 0x8ebc6af09c88c6e3; }

  PrefixIndex& index_;
  const PrefixIndex::Slot slot_;
  const BlockKeys& keys_;
  std::string model_;
  EngineBlockMap map_;
  std::unordered_map<uint64_t, uint32_t> copies_;  // beyond the first
  std::vector<Tail> tails_;                        // the oldest first
  std::array<Group, kGroupsMax> groups_{};
  bool parts_ = false;   // some hash stands for several of our blocks
  bool inners_ = false;  // some hash ends inside one of our blocks
  std::vector<Op> ops_;
  std::vector<std::string_view> extras_;
  Counters counters_;
};

}  // namespace sluice::kvindex

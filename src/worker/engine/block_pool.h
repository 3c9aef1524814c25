// BlockPool: which KV blocks exist, who uses them, and which hold a known prefix. vLLM's accounting: a request's blocks
// are reference counted; full ones are found again by their chained hash; free ones wait in a queue, least recently
// used first, and keep their content until they are taken for something else. Pure: it moves numbers, not KV data;
// kv_cells maps blocks to llama.cpp's cells. Thread rule: one owner (the engine calls it under its lock). Cost: O(1) a
// block for every operation; memory is fixed by num_blocks.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "kvindex/engine_hash.h"

namespace sluice::worker {

using BlockId = int32_t;

struct BlockPoolOptions {
  int num_blocks = 0;
  int block_size = 16;  // tokens
  bool caching = true;  // false: nothing is ever found again
  // Blocks that may be cached at one depth of a chain. llama.cpp names cells by (sequence, position), so the sequences
  // kept for cached blocks limit how many of them can share a position (kv_cells.h).
  int cached_per_depth_max = 1 << 20;
};

// A cached block that lost its content. The owner drops its KV and tells subscribers.
struct RemovedBlock {
  BlockId id;
  int depth;
  kvindex::BlockDigest digest;
};

class BlockPool {
 public:
  explicit BlockPool(const BlockPoolOptions& options);

  // The longest cached prefix of `chain`, as blocks in order. Does not touch them.
  std::vector<BlockId> Lookup(std::span<const kvindex::BlockDigest> chain) const;
  // Adds a user to each block; one that nobody used leaves the free queue.
  void Touch(std::span<const BlockId> blocks);
  // Takes `count` blocks from the free queue, least recently used first, and appends them to `out` with one user each.
  // False, and nothing changes, when there are not enough. Content they cached is reported by TakeRemoved().
  bool Allocate(int count, std::vector<BlockId>& out);
  // Drops a user of each of a request's blocks (given in chain order). As in vLLM the tail is freed first, so that it
  // is evicted before its prefix. Blocks without reusable content go to the front of the queue.
  void Free(std::span<const BlockId> blocks);

  // Records that a block in use now holds the full block `digest` at `depth` (0 = first of its chain). False when it is
  // not cached: caching is off, the same content is cached already, or no room at this depth could be made.
  bool Register(BlockId block, const kvindex::BlockDigest& digest, int depth);

  // Forgets the cached content of blocks that nobody uses.
  void ForgetIdle();
  // Forgets all cached content. False, and nothing changes, while any block is in use.
  bool Reset();

  // Cached blocks whose content was dropped since the last call, in order.
  std::vector<RemovedBlock> TakeRemoved();

  int NumBlocks() const { return options_.num_blocks; }
  int NumFree() const { return free_count_; }
  int NumCached() const { return static_cast<int>(by_digest_.size()); }
  // Of `blocks`, those that nobody uses: what Touch would take from the free queue.
  int CountFree(std::span<const BlockId> blocks) const;
  // Fraction of blocks used by running requests, 0..1.
  double Usage() const;
  const BlockPoolOptions& Options() const { return options_; }

 private:
  struct Block {
    int users = 0;
    int prev = -1, next = -1;  // in the free queue
    int depth = -1;            // >= 0: cached under `digest`
    kvindex::BlockDigest digest;
  };
  struct DigestHash {
    size_t operator()(const kvindex::BlockDigest& d) const;
  };

  void PushFront(BlockId id);
  void PushBack(BlockId id);
  void Unlink(BlockId id);
  void Forget(BlockId id);
  bool MakeRoomAt(int depth);

  BlockPoolOptions options_;
  std::vector<Block> blocks_;  // + one sentinel at the end: head and tail of the free queue
  int free_count_ = 0;
  std::unordered_map<kvindex::BlockDigest, BlockId, DigestHash> by_digest_;
  std::vector<int> cached_at_depth_;
  std::vector<RemovedBlock> removed_;
};

}  // namespace sluice::worker

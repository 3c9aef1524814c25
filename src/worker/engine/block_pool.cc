#include "worker/engine/block_pool.h"

#include <cstring>

#include "base/check.h"

namespace sluice::worker {

size_t BlockPool::DigestHash::operator()(const kvindex::BlockDigest& d) const {
  size_t h;  // a digest is uniform: any eight bytes of it are a hash
  std::memcpy(&h, d.bytes.data(), sizeof(h));
  return h;
}

BlockPool::BlockPool(const BlockPoolOptions& options) : options_(options) {
  SLUICE_CHECK(options_.num_blocks > 0 && options_.block_size > 0, "a pool has blocks");
  blocks_.resize(static_cast<size_t>(options_.num_blocks) + 1);
  const int sentinel = options_.num_blocks;
  blocks_[sentinel].prev = blocks_[sentinel].next = sentinel;
  for (BlockId id = 0; id < options_.num_blocks; ++id) PushBack(id);
}

void BlockPool::Unlink(BlockId id) {
  Block& b = blocks_[id];
  blocks_[b.prev].next = b.next;
  blocks_[b.next].prev = b.prev;
  b.prev = b.next = -1;
  --free_count_;
}

void BlockPool::PushBack(BlockId id) {
  const int sentinel = options_.num_blocks;
  Block& b = blocks_[id];
  b.prev = blocks_[sentinel].prev;
  b.next = sentinel;
  blocks_[b.prev].next = id;
  blocks_[sentinel].prev = id;
  ++free_count_;
}

void BlockPool::PushFront(BlockId id) {
  const int sentinel = options_.num_blocks;
  Block& b = blocks_[id];
  b.next = blocks_[sentinel].next;
  b.prev = sentinel;
  blocks_[b.next].prev = id;
  blocks_[sentinel].next = id;
  ++free_count_;
}

void BlockPool::Forget(BlockId id) {
  Block& b = blocks_[id];
  if (b.depth < 0) return;
  by_digest_.erase(b.digest);
  --cached_at_depth_[b.depth];
  removed_.push_back({id, b.depth, b.digest});
  b.depth = -1;
}

std::vector<BlockId> BlockPool::Lookup(std::span<const kvindex::BlockDigest> chain) const {
  std::vector<BlockId> out;
  for (const auto& digest : chain) {
    const auto it = by_digest_.find(digest);
    if (it == by_digest_.end()) break;
    out.push_back(it->second);
  }
  return out;
}

void BlockPool::Touch(std::span<const BlockId> blocks) {
  for (BlockId id : blocks) {
    if (blocks_[id].users++ == 0) Unlink(id);
  }
}

int BlockPool::CountFree(std::span<const BlockId> blocks) const {
  int n = 0;
  for (BlockId id : blocks) n += blocks_[id].users == 0;
  return n;
}

bool BlockPool::Allocate(int count, std::vector<BlockId>& out) {
  if (count > free_count_) return false;
  for (int i = 0; i < count; ++i) {
    const BlockId id = blocks_[options_.num_blocks].next;
    Unlink(id);
    Forget(id);
    blocks_[id].users = 1;
    out.push_back(id);
  }
  return true;
}

void BlockPool::Free(std::span<const BlockId> blocks) {
  for (auto it = blocks.rbegin(); it != blocks.rend(); ++it) {
    Block& b = blocks_[*it];
    SLUICE_CHECK(b.users > 0, "a block is freed once for each user");
    if (--b.users > 0) continue;
    if (b.depth >= 0) {
      PushBack(*it);
    } else {
      PushFront(*it);
    }
  }
}

bool BlockPool::MakeRoomAt(int depth) {
  if (static_cast<size_t>(depth) >= cached_at_depth_.size()) cached_at_depth_.resize(depth + 1, 0);
  if (cached_at_depth_[depth] < options_.cached_per_depth_max) return true;
  const int sentinel = options_.num_blocks;
  for (BlockId id = blocks_[sentinel].next; id != sentinel; id = blocks_[id].next) {
    if (blocks_[id].depth != depth) continue;
    Forget(id);  // its content is gone, so it is the next to be taken
    Unlink(id);
    PushFront(id);
    return true;
  }
  return false;
}

bool BlockPool::Register(BlockId block, const kvindex::BlockDigest& digest, int depth) {
  Block& b = blocks_[block];
  SLUICE_CHECK(b.users > 0 && b.depth < 0, "only a block in use, once, can be registered");
  if (!options_.caching || by_digest_.contains(digest) || !MakeRoomAt(depth)) return false;
  by_digest_.emplace(digest, block);
  ++cached_at_depth_[depth];
  b.digest = digest;
  b.depth = depth;
  return true;
}

void BlockPool::ForgetIdle() {
  for (BlockId id = 0; id < options_.num_blocks; ++id) {
    if (blocks_[id].users == 0) Forget(id);
  }
}

bool BlockPool::Reset() {
  if (free_count_ != options_.num_blocks) return false;
  ForgetIdle();
  return true;
}

std::vector<RemovedBlock> BlockPool::TakeRemoved() {
  std::vector<RemovedBlock> out;
  out.swap(removed_);
  return out;
}

double BlockPool::Usage() const {
  return 1.0 - static_cast<double>(free_count_) / static_cast<double>(options_.num_blocks);
}

}  // namespace sluice::worker
